package httpapi

import (
	"net/http"
	"time"

	"github.com/jackcache/jackcache"
)

// clearTime bounds how long a clear may take before its answer: it looks
// through the whole store.
const clearTime = time.Hour

// cleared is the answer to a clear.
type cleared struct {
	Organisations int `json:"organisations"`
	Keys          int `json:"keys"`
}

func (s *Server) clearOrg(x *exchange) error {
	extendWrite(http.NewResponseController(x.ResponseWriter), clearTime)
	c, err := s.org(x).Clear(x.r.Context())
	return x.sendCleared(c, err)
}

// clearAll wants to be told twice: its path is no slip of the one above.
func (s *Server) clearAll(x *exchange) error {
	if x.query.Get("confirm") != "all" {
		return invalid("this removes the data of all organisations; say ?confirm=all")
	}
	extendWrite(http.NewResponseController(x.ResponseWriter), clearTime)
	c, err := s.a.Cache.Clear(x.r.Context())
	return x.sendCleared(c, err)
}

func (x *exchange) sendCleared(c jackcache.Cleared, err error) error {
	if err != nil {
		return err
	}
	return x.sendJSON(http.StatusOK, cleared{Organisations: c.Organisations, Keys: c.Keys})
}
