package journal

// Stats never waits for the disk.
func (j *Journal) Stats() Stats {
	st := Stats{
		MaxBytes: j.o.MaxBytes, PendingRecords: j.PendingCount(), Problem: j.disk.say(),
		PinnedBytes: j.state.pinned.Load(), Damaged: j.damaged.Load(), CrashSafe: !j.o.Memory,
	}
	if st.Problem == "" {
		j.mu.Lock()
		if err := j.fullLocked(); err != nil {
			st.Problem = err.Error()
		}
		j.mu.Unlock()
	}
	j.latency.fill(&st)
	s := j.state
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, seg := range s.segments {
		st.Records += seg.records
		st.Bytes += seg.size
	}
	st.Segments = len(s.segments)
	st.PendingBytes = s.pendingBytes
	st.OldestPending = s.oldestPendingLocked()
	st.Since = instant(s.since)
	st.Indexed = int64(len(s.keys))
	return st
}
