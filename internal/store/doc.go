// Package store is the contract that every store meets: the shared store in
// Redis and the embedded store in a file. storetest is the suite they pass.
//
// Every write is an Op that can be applied any number of times, in any order
// with others, with the same result. In this package "live" data is data that a
// reader sees.
//
// # Values
//
// A key holds the record with the highest (generation, version). A deletion is
// a record with the Tombstone flag. Set answers:
//
//   - Ahead when the version is more than clock.MaxAhead ahead of the store's time;
//   - Expired when ExpiresAt is past;
//   - Stale, with the organisation's generation, when that is higher and If restricts
//     the Set: it looked at data that is not there any more. A store that has the two
//     in different places, or is one process's own, may answer as below;
//   - ConditionFail when If does not hold. IfAbsent and IfVersion look at what is
//     live under the Op's generation: a record of a lower generation or a
//     tombstone counts as absent. IfSeen looks at the key itself;
//   - Stale when what is stored has a higher generation;
//   - Superseded, with the stored version, when the generation is equal and the
//     stored version higher;
//   - Unchanged when the same record is stored, Conflict when the version and
//     generation are equal and flags or payload differ;
//   - Applied otherwise. ExpiresAt is that of what is stored now.
//
// Refresh prolongs a life for one version, of a generation that has not ended, and
// writes nothing else: to TTL from now, by the store's clock, but not beyond Until,
// not before a quarter of TTL has passed, and never to an earlier end. What Until
// still allows is given however little it is.
//
// A record that is stored as zstd and one that is not are compared as they are
// stored: one build compresses one payload in one way.
//
// # Conversations
//
// The state is a generation, a floor (a version), trimmedTo (an order), the
// messages by order, for each remembered id the orders under which it was
// brought, each with the digest of role and content; and an arrival that grows.
// An operation is applied in these steps:
//
//  1. Ahead and Expired as above, but for Merge: others may have prolonged the
//     conversation. What is past and comes to one that is alive, under a generation
//     that is not lower than its own, is applied as usual, and prolongs nothing. Of a
//     Replace with Keep that comes to any other the floor remains: it is raised, and
//     every message is dropped. A state whose life has ended is empty, but for
//     floor (while it is kept), generation and last arrival.
//  2. A higher generation empties messages, ids and trimmedTo, and stays. A lower
//     one: Live answers Stale and changes nothing; Merge raises the floor (for a
//     Replace), drops every message, and is done.
//  3. Live, and the version is below the floor; or an Append has an order at or
//     below trimmedTo; or a Replace has a version below that of any order that is
//     remembered: Superseded, with the version to exceed. Nothing changes.
//  4. Live, and an id is remembered with another digest at or above the floor
//     (after step 5's raise, for a Replace): Conflict with ConflictID, nothing
//     changes. Merge counts the conflict and goes on.
//  5. A Replace raises the floor to its version. Orders whose version is below the
//     floor are forgotten, with their messages. An id that has other orders
//     remains, at the lowest of them, with the content that came with it.
//  6. Each message whose order is below the floor or at or below trimmedTo is
//     dropped (Merge only, by step 3). One whose id is remembered gets its order
//     remembered too; the message stands at the lowest order, with the content of
//     that order. Copies with one digest are one content: which of them gives the
//     bytes is not defined. An id whose lowest order is at or below trimmedTo
//     stays where it is: the new order is not remembered, the message is a
//     duplicate. Of more than 32 orders of one id the lowest 31 and the highest
//     are remembered.
//     An order at which another id stands is a Conflict in Live, and drops the
//     message in Merge.
//  7. Messages new to the list get an arrival: the store's time in microseconds,
//     or one more than the last arrival where that is higher.
//  8. More than Window.Messages+Slack messages, or more than Window.Bytes*9/8
//     bytes: the oldest go until Messages and Bytes hold, at least one stays, and
//     trimmedTo is the order of the last that went. Ids are remembered beyond
//     that, at least the Window.IDs (and Messages+Slack) newest.
//  9. If a message was inserted, or a Replace was applied: the life is ExpiresAt,
//     or TTL from now, but not beyond MaxLife from the creation, and never
//     shorter than it was. A floor is remembered at least for Keep. The creation
//     is the store's time when a life began; a message that Merge inserted or moved,
//     and a Replace that it applied, brings it down to the time of its version,
//     unless that is a historic one: a life that was lost does not begin anew.
//
// Placed tells for each message the order at which its id stands, whether the
// id was there before (Duplicate), and whether it was dropped. The status is
// Unchanged when no message was inserted or moved and no floor raised.
//
// Messages returns what stands in the list and has at least the organisation's
// generation, in order.
package store
