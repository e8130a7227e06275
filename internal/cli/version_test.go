package cli

import (
	"runtime/debug"
	"testing"
)

func TestVersionOf(t *testing.T) {
	for _, tt := range []struct{ module, commit, want string }{
		{"v1.2.3", "", "v1.2.3"},
		{"v0.0.0-20261122221313-8bd6cf38af23+dirty", "8bd6cf38af23b7644a57004c53461613eefb211a", "v0.0.0-20261122221313-8bd6cf38af23+dirty"},
		{"(devel)", "8bd6cf38af23b7644a57004c53461613eefb211a", "devel-8bd6cf38af23"},
		{"(devel)", "", "devel"},
		{"", "8bd6", "devel"},
	} {
		info := &debug.BuildInfo{Main: debug.Module{Version: tt.module}}
		if tt.commit != "" {
			info.Settings = []debug.BuildSetting{{Key: "vcs.revision", Value: tt.commit}}
		}
		if got := versionOf(info); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}
