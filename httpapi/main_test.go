package httpapi

import (
	"context"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func noCancel(t testing.TB) context.Context { return context.WithoutCancel(t.Context()) }
