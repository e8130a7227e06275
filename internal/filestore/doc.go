// Package filestore is the embedded store: everything in one bbolt file, for
// one process. It is durable without a server: an answer is given after fsync,
// and callers who wait at the same time share one.
//
// # Layout, format 1
//
// Numbers are big-endian, 8 bytes; times are milliseconds since 1970 unless
// said otherwise; versions, orders, values and messages are in the textual
// forms of packages clock and record. Buckets of the top level:
//
//	meta                    format; clean; keys:<prefix>; carry:<prefix><organisation>
//	<prefix>generations     organisation -> generation
//	<prefix>organisations   organisation -> bucket of rows
//	<prefix>directory       rows of the keys without an organisation
//	<prefix>due             <time><organisation>00<row> -> when to look at a row
//	<prefix>sweeps          organisation -> where the sweep of old generations is
//
// Prefix is that of the environment ("jack:prod:"), organisation the id as it
// was given, 00 a zero byte. Rows of one key share a name, <type>:<id>00, and
// have one more byte, then more:
//
//	v            value: expiry, due, record
//	c            conversation: see head
//	m<order>     a message of the list
//	s<order>     content of a remembered order that does not stand in the list
//	o<order>     id of the message that has the order
//	i<id>        orders of a message id, each with the digest that came with it
//
// An append touches the pages of these rows only, whatever the length of the
// conversation. A row in due is not moved when a life is prolonged: it is put
// where it belongs when it comes up, so that a write costs no second index.
package filestore
