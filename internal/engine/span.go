package engine

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/jackcache/jackcache/internal/keys"
)

// Attributes of spans. None of them names an organisation or a key.
const (
	kindAttribute  = attribute.Key("jackcache.kind")
	errorAttribute = attribute.Key("error.type")
)

var spanNames = func() (names [operations]string) {
	for op := range operations {
		names[op] = "jackcache " + op.String()
	}
	return names
}()

// measured is an operation under way.
type measured struct {
	engine *Engine
	caller context.Context
	op     Operation
	start  time.Time
	span   trace.Span // nil: none
}

// measure starts the measurement of an operation on keys of a type, empty where
// they are of several. A span is made below that of the caller: who has none
// does not want one.
func (e *Engine) measure(ctx context.Context, op Operation, t keys.Type) (context.Context, measured) {
	m := measured{engine: e, caller: ctx, op: op, start: time.Now()}
	if e.cfg.Tracer == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, m
	}
	ctx, m.span = e.cfg.Tracer.Start(ctx, spanNames[op])
	if name := e.cfg.KindNames[t]; name != "" && m.span.IsRecording() {
		m.span.SetAttributes(kindAttribute.String(name))
	}
	return ctx, m
}

// end counts the operation. The text of an error is not part of the span: it may
// quote an id.
func (m measured) end(err error) {
	o := Done
	if err != nil {
		o = outcomeOf(m.caller, err)
	}
	m.engine.meters.done(m.op, m.start, o)
	if m.span == nil {
		return
	}
	if o.Failed() && m.span.IsRecording() {
		m.span.SetAttributes(errorAttribute.String(o.String()))
		m.span.SetStatus(codes.Error, "")
	}
	m.span.End()
}

// withoutSpan hides the caller's span: operations that come by the thousand have
// none each.
func (e *Engine) withoutSpan(ctx context.Context) context.Context {
	if e.cfg.Tracer == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, nil)
}
