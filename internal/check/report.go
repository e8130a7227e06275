package check

// Verdict is what came of a category.
type Verdict string

// The verdicts.
const (
	Pass   Verdict = "pass"
	Fail   Verdict = "fail"
	NotRun Verdict = "not run"
)

// Result is what came of one category.
type Result struct {
	Number       int     `json:"number"`
	ID           string  `json:"id"`
	Name         string  `json:"name"`
	Verdict      Verdict `json:"result"`
	Milliseconds float64 `json:"milliseconds"`
	// Detail says what was found.
	Detail string `json:"detail"`
	// ToDo says what to do about a failure.
	ToDo string `json:"toDo,omitempty"`
}

// Performance is what the category of that name measured, in milliseconds.
type Performance struct {
	GetMean  float64 `json:"getMeanMs"`
	GetP50   float64 `json:"getP50Ms"`
	GetP99   float64 `json:"getP99Ms"`
	SetMean  float64 `json:"setMeanMs"`
	SetP50   float64 `json:"setP50Ms"`
	SetP99   float64 `json:"setP99Ms"`
	HitRatio float64 `json:"hitRatio"`
}

// Outage is what the failover measured, in milliseconds.
type Outage struct {
	Calls        int `json:"calls"`
	Acknowledged int `json:"acknowledged"`
	// Pending are those of Acknowledged that the journal kept until the store was
	// back.
	Pending int `json:"pending"`
	// Errors are calls that were answered with a typed error.
	Errors int `json:"errors"`
	// Slowest is the longest that a call took to answer.
	Slowest float64 `json:"slowestMs"`
	// Recovered is the time from the end of each fault to the next write that
	// reached the store, and Arrived to when it had all that the journal kept.
	Recovered []float64 `json:"recoveredMs"`
	Arrived   float64   `json:"arrivedMs"`
	// Killed is how many writes a process that was killed had acknowledged while it
	// could not reach the store.
	Killed int `json:"killed"`
}

// Cleanup is what was removed in the end.
type Cleanup struct {
	// Removed counts the keys that were removed from Redis.
	Removed int `json:"removed"`
	// Problem says what could not be removed, and how to. Empty: nothing is left.
	Problem string `json:"problem,omitempty"`
}

// Report is the outcome of a run.
type Report struct {
	// OK reports whether every category that was asked for holds, and nothing was
	// left behind.
	OK bool `json:"ok"`
	// Target says in words what was checked.
	Target string `json:"target"`
	// Store is "redis" or "embedded".
	Store       string       `json:"store"`
	KeyPrefix   string       `json:"keyPrefix,omitempty"`
	Token       string       `json:"token"` // part of every id that the run made
	Categories  []Result     `json:"categories"`
	Performance *Performance `json:"performance,omitempty"`
	Outage      *Outage      `json:"failover,omitempty"`
	Cleanup     Cleanup      `json:"cleanup"`
	Advice      []string     `json:"advice"`
}
