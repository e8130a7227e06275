package httpapi

import (
	"errors"
	"net/http"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

// inDirectory makes a handler of an organisation's mapping one of the directory
// without an organisation.
func inDirectory(handle func(*exchange) error) func(*exchange) error {
	return func(x *exchange) error {
		x.directory = true
		return handle(x)
	}
}

func (s *Server) leadOrg(x *exchange) jackcache.Org {
	if x.directory {
		return s.a.Cache.Directory()
	}
	return s.org(x)
}

func (s *Server) getPhoneLead(x *exchange) error {
	return x.get(target{org: s.leadOrg(x), kind: s.leads, id: x.r.PathValue("phone")})
}

func (s *Server) putPhoneLead(x *exchange) error {
	lead, err := x.linked("leadId")
	if err != nil {
		return err
	}
	return s.link(x, x.r.PathValue("phone"), lead)
}

func (s *Server) deletePhoneLead(x *exchange) error {
	if err := x.unconditional(); err != nil {
		return err
	}
	ctx, receipt := x.receipt()
	if err := s.a.UnlinkPhone(ctx, s.leadOrg(x), x.r.PathValue("phone")); err != nil {
		return err
	}
	return x.done(receipt)
}

func (s *Server) getLeadPhone(x *exchange) error {
	phone, err := s.a.PhoneOf(x.r.Context(), s.org(x), x.r.PathValue("lead"))
	if err != nil {
		if errors.Is(err, jackcache.ErrNotFound) {
			return x.miss()
		}
		return err
	}
	x.Header()["Cache-Status"] = hits[jackcache.SourceShared]
	return x.sendJSON(http.StatusOK, assistant.Phone{Phone: phone})
}

func (s *Server) putLeadPhone(x *exchange) error {
	phone, err := x.linked("phone")
	if err != nil {
		return err
	}
	return s.link(x, phone, x.r.PathValue("lead"))
}

func (s *Server) deleteLeadPhone(x *exchange) error {
	if err := x.unconditional(); err != nil {
		return err
	}
	ctx, receipt := x.receipt()
	if err := s.a.UnlinkLead(ctx, s.org(x), x.r.PathValue("lead")); err != nil {
		return err
	}
	return x.done(receipt)
}

// linked reads the one field of a body that links.
func (x *exchange) linked(field string) (string, error) {
	if err := x.unconditional(); err != nil {
		return "", err
	}
	v, _, err := x.object()
	if err != nil {
		return "", err
	}
	return textField(v, field)
}

type link struct {
	Phone   string `json:"phone"`
	LeadID  string `json:"leadId"`
	Pending bool   `json:"pending"`
}

func (s *Server) link(x *exchange, phone, lead string) error {
	ctx, receipt := x.receipt()
	if err := s.a.Link(ctx, s.leadOrg(x), phone, lead); err != nil {
		return err
	}
	e164, err := s.a.Cache.NormalizePhone(phone)
	if err != nil {
		return err
	}
	return x.sendJSON(orAccepted(receipt, http.StatusOK), link{Phone: e164, LeadID: lead, Pending: receipt.Pending()})
}
