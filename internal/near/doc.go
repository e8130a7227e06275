// Package near keeps values in the memory of this process: Local those of kinds
// that are never shared, Tier copies of what a shared store has.
//
// A copy in a Tier is as good as the proof that it is current:
//
//  1. Before a read is sent, Lease notes the clock of the key's stripe, that of its
//     organisation, and the epochs of the covers (see store.Cover).
//  2. Who hears that a key changed raises the clock first, and drops the copy then.
//  3. Fill compares the lease with the clocks under the lock of the key's bucket. So a
//     change that the read did not see either raised the clock before, and the
//     copy is not kept; or waits for the lock, and drops it.
//  4. Get gives a copy as fresh while its covers are the same ones, their epochs
//     too, and each has a proof that is younger than the bound. Otherwise it is stale.
//  5. A generation that changes ends what its organisation has: the number that every
//     copy of it was kept with no longer counts, and the room is regained behind.
//
// Nothing is emptied when a connection ends: the epoch alone tells.
package near
