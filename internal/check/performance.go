package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackcache/jackcache"
)

// hitRatio is the original's target for reads after the warm-up.
const hitRatio = 0.80

const (
	measured = 100
	// valueBytes is about the size of the configuration of an agent.
	valueBytes = 1 << 10
)

// distribution is what calls of one kind took.
type distribution struct{ mean, p50, p99 time.Duration }

func distributionOf(took []time.Duration) distribution {
	slices.Sort(took)
	var sum time.Duration
	for _, t := range took {
		sum += t
	}
	n := len(took)
	return distribution{mean: sum / time.Duration(n), p50: took[n/2], p99: took[n*99/100]}
}

// performance measures 100 times set and get of 1 KiB, and how many of the gets
// after that warm-up are hits.
func (s *session) performance(ctx context.Context) (string, error) {
	onA, onB := s.both("performance")
	value, _ := json.Marshal(strings.Repeat("x", valueBytes)) // a string always has a JSON form
	sets, gets := make([]time.Duration, measured), make([]time.Duration, measured)
	s.step("set")
	for i := range sets {
		start := time.Now()
		if _, err := s.a.Kinds.AgentConfig.Set(ctx, onA, fmt.Sprint(i), value); err != nil {
			return "", doing("set", err)
		}
		sets[i] = time.Since(start)
	}
	s.step("get")
	hits := 0
	for i := range gets {
		start := time.Now()
		_, err := s.b.Kinds.AgentConfig.Get(ctx, onB, fmt.Sprint(i))
		gets[i] = time.Since(start)
		switch {
		case err == nil:
			hits++
		case !errors.Is(err, jackcache.ErrNotFound):
			return "", doing("get", err)
		}
	}
	set, get, ratio := distributionOf(sets), distributionOf(gets), float64(hits)/measured
	s.report.Performance = &Performance{
		GetMean: milliseconds(get.mean), GetP50: milliseconds(get.p50), GetP99: milliseconds(get.p99),
		SetMean: milliseconds(set.mean), SetP50: milliseconds(set.p50), SetP99: milliseconds(set.p99),
		HitRatio: ratio,
	}
	return s.judge(set, get, ratio)
}

func (s *session) judge(set, get distribution, ratio float64) (string, error) {
	told := fmt.Sprintf("GET mean %s, p50 %s, p99 %s (target: mean < %s); SET mean %s, p50 %s, p99 %s (target: mean < %s); hit ratio %.0f %% (target: > %.0f %%)",
		shown(get.mean), shown(get.p50), shown(get.p99), s.o.GetMean,
		shown(set.mean), shown(set.p50), shown(set.p99), s.o.SetMean, 100*ratio, 100*hitRatio)
	switch slow := get.mean >= s.o.GetMean || set.mean >= s.o.SetMean; {
	case ratio <= hitRatio:
		return "", wrong("values vanish: look at evicted_keys of INFO and maxmemory-policy (noeviction is right), and whether "+strangers, "%s", told)
	case slow && s.o.Cache.Redis == nil:
		return "", wrong("the disk is slow to sync: put JACKCACHE_DATA_DIR on a local disk", "%s", told)
	case slow:
		return "", wrong("the server is far away or busy: run jackcache in the same zone as Redis, and look at SLOWLOG and 'redis-cli --latency' from this host", "%s", told)
	}
	return told, nil
}
