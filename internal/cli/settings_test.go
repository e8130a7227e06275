package cli

import (
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

var update = flag.Bool("update", false, "write the files that are made from the table of settings")

// given loads settings from variables of the environment.
func given(t *testing.T, pairs ...string) (*settings, string) {
	t.Helper()
	env := layer{name: envLayer, values: make(map[string]string)}
	for _, p := range pairs {
		name, v, _ := strings.Cut(p, "=")
		env.values[name] = v
	}
	s, wrong, err := load(env)
	if err != nil {
		t.Fatal(err)
	}
	return s, strings.Join(append(wrong.lines, s.ofStore.lines...), "\n")
}

func TestDefaultsAreThoseOfThePackages(t *testing.T) {
	s, wrong := given(t)
	if wrong != "" {
		t.Fatal(wrong)
	}
	got, ttls := s.options(nil)
	want := jackcache.Options{
		DataDir: jackcache.DefaultDataDir, PhoneRegion: "US", Budget: jackcache.DefaultBudget,
		LocalBytes: jackcache.DefaultLocalBytes, ForgetFor: jackcache.DefaultForgetFor, ReclaimRate: jackcache.DefaultReclaimRate,
		Embedded: jackcache.EmbeddedOptions{MaxBytes: jackcache.DefaultEmbeddedBytes, Budget: jackcache.DefaultEmbeddedBudget},
		Journal: jackcache.JournalOptions{
			Mode: jackcache.JournalRequired, MaxBytes: jackcache.DefaultJournalBytes, Window: jackcache.DefaultJournalWindow, ReplayRate: jackcache.DefaultReplayRate,
		},
		Near: jackcache.NearOptions{MaxBytes: jackcache.DefaultNearBytes, Share: jackcache.DefaultNearShare, Freshness: jackcache.DefaultFreshness},
		Conversation: jackcache.ConversationOptions{
			TTL: jackcache.DefaultConversationTTL, Window: jackcache.DefaultWindow, WindowBytes: jackcache.DefaultWindowBytes,
			MessageBytes: jackcache.DefaultMessageBytes, Batch: jackcache.DefaultBatch, CompressAbove: jackcache.DefaultCompressAbove,
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("options\n%+v, want\n%+v", got, want)
	}
	byDefault, set := assistant.NewKinds(assistant.TTLs{}).All(), assistant.NewKinds(ttls).All()
	for i := range set {
		if set[i].Info() != byDefault[i].Info() {
			t.Errorf("kind %+v, want %+v", set[i].Info(), byDefault[i].Info())
		}
	}
}

func TestEverySettingHasAnEffect(t *testing.T) {
	s, wrong := given(t,
		"NODE_ENV=production", "REDIS_HOST=r", "REDIS_PORT=1", "REDIS_USERNAME=u", "REDIS_PASSWORD=p", "REDIS_DB=2",
		"REDIS_MODE=sentinel", "REDIS_SENTINEL_MASTER=m", "REDIS_SENTINEL_USERNAME=su", "REDIS_SENTINEL_PASSWORD=sp",
		"JACKCACHE_REDIS_IN_FLIGHT=30", "JACKCACHE_REDIS_CONNECTIONS=3", "JACKCACHE_DATA_DIR=d", "JACKCACHE_EMBEDDED_BYTES=1GiB", "JACKCACHE_EMBEDDED_BUDGET=1s",
		"JACKCACHE_JOURNAL=optional", "JACKCACHE_JOURNAL_BYTES=7MiB", "JACKCACHE_JOURNAL_WINDOW=3h", "JACKCACHE_REPLAY_RATE=500",
		"JACKCACHE_NEAR_BYTES=12MiB", "JACKCACHE_RECLAIM_RATE=600", "JACKCACHE_NEAR_SHARE=0.25", "JACKCACHE_FRESHNESS=2s", "JACKCACHE_NEAR_TTL=40s",
		"JACKCACHE_TTL_CONVERSATION_CONTEXT=1m", "JACKCACHE_MAX_LIFE=2h", "JACKCACHE_WINDOW=4", "JACKCACHE_WINDOW_BYTES=5kB",
		"JACKCACHE_MESSAGE_BYTES=6000", "JACKCACHE_BATCH=7", "JACKCACHE_MESSAGE_COMPRESS_ABOVE=8KiB", "JACKCACHE_DIRECTORY=on",
		"JACKCACHE_PHONE_REGION=de", "JACKCACHE_BUDGET=9ms", "JACKCACHE_LOCAL_BYTES=10MB", "JACKCACHE_FORGET_FOR=11d",
		"JACKCACHE_TTL_CONVERSATION_SUMMARY=1s", "JACKCACHE_TTL_PHONE_TO_LEAD=2s", "JACKCACHE_TTL_LEAD_DATA=3s",
		"JACKCACHE_TTL_CONVERSATION_HISTORY=4s", "JACKCACHE_TTL_ORGANIZATION_DATA=5s", "JACKCACHE_TTL_AGENT_CONFIG=6s",
		"JACKCACHE_TTL_PRE_COMPUTED_CONTEXT=7s", "JACKCACHE_TTL_SSE_RESPONSE=8s",
	)
	if wrong != "" {
		t.Fatal(wrong)
	}
	got, ttls := s.options(nil)
	want := jackcache.Options{
		Production: true, DataDir: "d", PhoneRegion: "DE", Budget: 9 * time.Millisecond, LocalBytes: 10e6,
		ForgetFor: 11 * day, Directory: true, ReclaimRate: 600,
		Redis: &jackcache.RedisOptions{
			Mode: jackcache.Sentinel, Addrs: []string{"r:1"}, Username: "u", Password: "p", DB: 2, Connections: 3, InFlight: 30,
			Sentinel: jackcache.SentinelOptions{Master: "m", Username: "su", Password: "sp"},
		},
		Embedded: jackcache.EmbeddedOptions{MaxBytes: 1 << 30, Budget: time.Second},
		Journal:  jackcache.JournalOptions{Mode: jackcache.JournalOptional, MaxBytes: 7 << 20, Window: 3 * time.Hour, ReplayRate: 500},
		Near:     jackcache.NearOptions{MaxBytes: 12 << 20, Share: 0.25, Freshness: 2 * time.Second},
		Conversation: jackcache.ConversationOptions{
			TTL: time.Minute, MaxLife: 2 * time.Hour, Window: 4, WindowBytes: 5000, MessageBytes: 6000, Batch: 7, CompressAbove: 8192,
			NearTTL: 40 * time.Second,
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("options\n%+v, want\n%+v", got, want)
	}
	wantTTLs := assistant.TTLs{
		Summary: time.Second, Lead: 2 * time.Second, LeadData: 3 * time.Second, History: 4 * time.Second, Organization: 5 * time.Second,
		AgentConfig: 6 * time.Second, PreComputedContext: 7 * time.Second, SSEResponse: 8 * time.Second,
	}
	if ttls != wantTTLs {
		t.Errorf("lives %+v, want %+v", ttls, wantTTLs)
	}
}

// Copies can be switched off, all of them or those of conversations.
func TestNearSettings(t *testing.T) {
	for _, off := range []string{"off", "OFF", "0", "0B"} {
		s, wrong := given(t, "JACKCACHE_NEAR_BYTES="+off, "JACKCACHE_NEAR_TTL=0s")
		o, _ := s.options(nil)
		if wrong != "" || o.Near.MaxBytes != -1 || o.Conversation.NearTTL != -1 {
			t.Errorf("%s: %+v, %v; %s", off, o.Near, o.Conversation.NearTTL, wrong)
		}
	}
	for _, bad := range []string{
		"JACKCACHE_NEAR_BYTES=1", "JACKCACHE_NEAR_BYTES=on", "JACKCACHE_NEAR_SHARE=0", "JACKCACHE_NEAR_SHARE=1.5",
		"JACKCACHE_FRESHNESS=100ms", "JACKCACHE_FRESHNESS=2m", "JACKCACHE_NEAR_TTL=-1s",
	} {
		name, _, _ := strings.Cut(bad, "=")
		if _, wrong := given(t, bad); !strings.Contains(wrong, name+" is ") {
			t.Errorf("%s: %q", bad, wrong)
		}
	}
}

var storeSettings = []struct {
	env   string // blank-separated
	store string // where nothing is wrong
	wrong string // part of it
}{
	{"", "embedded", ""},
	{"REDIS_HOST=h", "redis h:6379", ""},
	{"REDIS_HOST=::1 REDIS_PORT=7", "redis [::1]:7", ""},
	{"REDIS_URL=redis://h", "redis h:6379", ""},
	{"REDIS_URL=redis://:p%40ss@h:7/3", "redis h:7", ""},
	{"REDIS_URL=redis://h:7 REDIS_HOST=h REDIS_PORT=7", "redis h:7", ""},
	{"REDIS_URL=redis://h REDIS_HOST=h REDIS_PORT=6379 REDIS_DB=2", "redis h:6379", ""},
	{"USE_REDIS=false REDIS_HOST=h", "embedded", ""},
	{"USE_REDIS=false REDIS_HOST=h JACKCACHE_STORE=embedded", "embedded", ""},
	{"USE_REDIS=false REDIS_MODE=sentinel REDIS_CA_FILE=missing", "embedded", ""},
	{"USE_REDIS=true", "embedded", ""},
	{"JACKCACHE_STORE=EMBEDDED NODE_ENV=production", "embedded", ""},
	{"USE_REDIS=0 NODE_ENV=production", "embedded", ""},
	{"REDIS_HOST=h NODE_ENV=production", "redis h:6379", ""},
	{"REDIS_TLS=false REDIS_MODE=standalone REDIS_HOST=h", "redis h:6379", ""},
	{"REDIS_ADDRS=a:1,b:2", "redis a:1,b:2", ""},
	{"REDIS_ADDRS=[::1]:1", "redis [::1]:1", ""},
	{"REDIS_ADDRS=h:7 REDIS_HOST=h REDIS_PORT=7", "redis h:7", ""},
	{"REDIS_ADDRS=a:7,b:7 REDIS_PORT=7", "redis a:7,b:7", ""},
	{"REDIS_ADDRS=a:7,b:6379 REDIS_URL=redis://a:7,b", "redis a:7,b:6379", ""},
	{"REDIS_URL=redis://u:p@a:1,b,[::1]:3,[::2]/0", "redis a:1,b:6379,[::1]:3,[::2]:6379", ""},
	{"REDIS_URL=rediss://h", "redis h:6379", ""},
	{"REDIS_URL=rediss://h REDIS_TLS=on", "redis h:6379", ""},
	{"REDIS_MODE=sentinel REDIS_SENTINEL_MASTER=m REDIS_HOST=s", "redis sentinel s:26379", ""},
	{"REDIS_MODE=sentinel REDIS_SENTINEL_MASTER=m REDIS_HOST=s REDIS_PORT=6379", "redis sentinel s:6379", ""},
	{"REDIS_MODE=sentinel REDIS_SENTINEL_MASTER=m REDIS_URL=rediss://a,b:2/1", "redis sentinel a:26379,b:2", ""},
	{"REDIS_MODE=CLUSTER REDIS_ADDRS=a:1,b:1", "redis cluster a:1,b:1", ""},
	{"REDIS_MODE=cluster REDIS_URL=redis://a,b/0", "redis cluster a:6379,b:6379", ""},
	{"REDIS_SENTINEL_TLS=off REDIS_HOST=h", "redis h:6379", ""},
	{"REDIS_TLS=on REDIS_TLS_SERVER_NAME=n REDIS_HOST=h", "redis h:6379", ""},

	{"NODE_ENV=production", "", "JACKCACHE_STORE=embedded"},
	{"JACKCACHE_STORE=redis", "", "neither"},
	{"JACKCACHE_STORE=redis USE_REDIS=no REDIS_HOST=h", "", "USE_REDIS is off"},
	{"JACKCACHE_STORE=embedded REDIS_HOST=h", "", "JACKCACHE_STORE is embedded"},
	{"JACKCACHE_STORE=embedded REDIS_ADDRS=h:1", "", "JACKCACHE_STORE is embedded"},
	{"REDIS_MODE=cluster", "", "REDIS_MODE is cluster, but no server is named"},
	{"REDIS_URL=redis://h REDIS_HOST=i", "", "REDIS_HOST are both set and differ"},
	{"REDIS_URL=redis://h,i REDIS_HOST=h", "", "REDIS_HOST are both set and differ"},
	{"REDIS_URL=redis://h:7 REDIS_PORT=8", "", "REDIS_PORT are both"},
	{"REDIS_URL=redis://h/1 REDIS_DB=2", "", "REDIS_DB are both"},
	{"REDIS_URL=redis://u@h REDIS_USERNAME=v", "", "REDIS_USERNAME are both"},
	{"REDIS_URL=redis://:p@h REDIS_PASSWORD=q", "", "REDIS_PASSWORD are both"},
	{"REDIS_URL=redis://:p@h REDIS_PASSWORD_FILE=f", "", "REDIS_URL and REDIS_PASSWORD_FILE are both"},
	{"REDIS_URL=redis://h REDIS_ADDRS=i:6379", "", "REDIS_URL and REDIS_ADDRS are both"},
	{"REDIS_URL=redis://h REDIS_TLS=on", "", "begins with redis://, but REDIS_TLS is on"},
	{"REDIS_URL=rediss://h REDIS_TLS=off", "", "begins with rediss://, but REDIS_TLS is off"},
	{"REDIS_URL=http://h", "", "REDIS_URL is not shown here"},
	{"REDIS_URL=redis://h/x", "", "REDIS_URL is not shown here"},
	{"REDIS_URL=redis://h?x=1", "", "REDIS_URL is not shown here"},
	{"REDIS_URL=redis://h,", "", "REDIS_URL is not shown here"},
	{"REDIS_URL=redis://", "", "REDIS_URL is not shown here"},
	{"REDIS_URL=h:6379", "", "REDIS_URL is not shown here"},
	{"REDIS_URL=redis://::1", "", "REDIS_URL is not shown here"},
	{"REDIS_URL=redis://h:1:2", "", "REDIS_URL is not shown here"},
	{"REDIS_URL=redis://a:b@c/d@h", "", "REDIS_URL is not shown here"},
	{"REDIS_ADDRS=a:1 REDIS_HOST=b", "", "REDIS_ADDRS and REDIS_HOST are both"},
	{"REDIS_ADDRS=a:1,b:1 REDIS_HOST=a REDIS_PORT=1", "", "REDIS_ADDRS and REDIS_HOST are both"},
	{"REDIS_ADDRS=a:1 REDIS_PORT=2", "", "REDIS_ADDRS and REDIS_PORT are both"},
	{"REDIS_HOST=h:6379", "", `REDIS_HOST is "h:6379" (environment): allowed are a name or an address, without`},
	{"REDIS_HOST=redis://h", "", "REDIS_HOST is"},
	{"REDIS_ADDRS=a", "", `REDIS_ADDRS is "a" (environment): allowed are host:port`},
	{"REDIS_ADDRS=a:1,", "", "allowed are host:port"},
	{"REDIS_ADDRS=a:0", "", "allowed are host:port"},
	{"REDIS_ADDRS=redis://a:1", "", "allowed are host:port"},
	{"REDIS_TLS=maybe", "", `REDIS_TLS is "maybe" (environment): allowed are on, off, true, false`},
	{"REDIS_MODE=ring", "", "allowed are standalone, sentinel, cluster"},
	{"REDIS_MODE=cluster REDIS_HOST=h REDIS_DB=1", "", "the database is 1"},
	{"REDIS_MODE=cluster REDIS_URL=redis://h/2", "", "the database is 2"},
	{"REDIS_MODE=sentinel REDIS_HOST=h", "", "REDIS_SENTINEL_MASTER is not set"},
	{"REDIS_HOST=h REDIS_SENTINEL_MASTER=x", "", "REDIS_SENTINEL_MASTER is set, but REDIS_MODE is standalone"},
	{"REDIS_HOST=h REDIS_MODE=cluster REDIS_SENTINEL_TLS=on", "", "REDIS_SENTINEL_TLS is set, but REDIS_MODE is cluster"},
	{"REDIS_HOST=h REDIS_SENTINEL_PASSWORD=x", "", "REDIS_SENTINEL_PASSWORD is set, but"},
	{"REDIS_HOST=h REDIS_TLS_SERVER_NAME=x", "", "REDIS_TLS_SERVER_NAME is set, but TLS is off"},
	{"REDIS_HOST=h REDIS_CA_FILE=missing.pem", "", "REDIS_CA_FILE is set, but TLS is off"},
	{"REDIS_HOST=h REDIS_PASSWORD=x REDIS_PASSWORD_FILE=f", "", "REDIS_PASSWORD and REDIS_PASSWORD_FILE are both set"},
}

func TestStoreSettings(t *testing.T) {
	for _, tt := range storeSettings {
		t.Run(tt.env, func(t *testing.T) {
			s, wrong := given(t, strings.Fields(tt.env)...)
			if tt.wrong == "" && wrong != "" || !strings.Contains(wrong, tt.wrong) {
				t.Fatalf("wrong: %q, want %q", wrong, tt.wrong)
			}
			if tt.wrong == "" && s.store() != tt.store {
				t.Errorf("store %q, want %q", s.store(), tt.store)
			}
		})
	}
}

// Without a server settings of Redis do nothing, which is said.
func TestUnusedSettings(t *testing.T) {
	s, wrong := given(t, "REDIS_DB=3", "REDIS_TLS=on", "REDIS_PASSWORD_FILE=f")
	if wrong != "" || len(s.warnings) != 3 {
		t.Errorf("%q, warnings %q", wrong, s.warnings)
	}
	if s, _ := given(t, "REDIS_DB=3", "USE_REDIS=off"); len(s.warnings) != 0 {
		t.Errorf("warnings %q", s.warnings)
	}
}

// All contradictions are told at once.
func TestAllContradictions(t *testing.T) {
	s, _ := given(t, "REDIS_MODE=cluster", "REDIS_ADDRS=a:1", "REDIS_HOST=b", "REDIS_DB=1", "REDIS_SENTINEL_MASTER=m",
		"REDIS_CA_FILE=missing", "REDIS_CERT_FILE=missing", "REDIS_PASSWORD_FILE=missing")
	var got []string
	for _, line := range s.ofStore.lines {
		first, _, _ := strings.Cut(line, " ")
		got = append(got, first)
	}
	want := []string{"REDIS_ADDRS", "REDIS_MODE", "REDIS_SENTINEL_MASTER", "REDIS_PASSWORD_FILE", "REDIS_CA_FILE", "REDIS_CERT_FILE",
		"REDIS_CA_FILE", "REDIS_CERT_FILE", "REDIS_CERT_FILE"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q:\n%s", got, want, strings.Join(s.ofStore.lines, "\n"))
	}
}

func TestURLGivesAllOfRedis(t *testing.T) {
	s, wrong := given(t, "REDIS_URL=redis://u:p%40s,s@h:7,i/3")
	want := jackcache.RedisOptions{
		Mode: jackcache.Standalone, Addrs: []string{"h:7", "i:6379"}, Username: "u", Password: "p@s,s", DB: 3,
		Connections: 1, InFlight: jackcache.DefaultInFlight,
	}
	if got := s.redis(nil); wrong != "" || got == nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("%+v, want %+v; %s", got, want, wrong)
	}
}

func TestLayers(t *testing.T) {
	set := func(name, v string) layer {
		return layer{name: name, values: map[string]string{"JACKCACHE_WINDOW": v}}
	}
	tests := []struct {
		layers []layer
		want   int
		from   string
	}{
		{nil, jackcache.DefaultWindow, ""},
		{[]layer{set(dotEnv, "1")}, 1, dotEnv},
		{[]layer{set(dotEnv, "1"), set(envLayer, "2")}, 2, envLayer},
		{[]layer{set(dotEnv, "1"), set(envLayer, "2"), set(flagLayer, "3")}, 3, flagLayer},
		{[]layer{set(dotEnv, "1"), set(envLayer, "")}, 1, dotEnv},
	}
	for _, tt := range tests {
		s, wrong, err := load(tt.layers...)
		if err != nil || wrong.err() != nil {
			t.Fatal(err, wrong)
		}
		if got := value[int](s, "JACKCACHE_WINDOW"); got != tt.want || s.origin["JACKCACHE_WINDOW"] != tt.from {
			t.Errorf("%d from %q, want %d from %q", got, s.origin["JACKCACHE_WINDOW"], tt.want, tt.from)
		}
	}
}

func TestValues(t *testing.T) {
	tests := []struct {
		kind kind
		text string
		want any // nil: refused
	}{
		{onOff{}, "True", true}, {onOff{}, "0", false}, {onOff{}, "2", nil},
		{number{1, 9}, "9", 9}, {number{1, 9}, "10", nil}, {number{1, 9}, "1.5", nil},
		{span{0, day}, "90s", 90 * time.Second}, {span{0, 9 * day}, "2d", 2 * day}, {span{0, day}, "2d", nil},
		{span{0, day}, "5", nil}, {span{0, day}, "0", time.Duration(0)}, {span{0, day}, "-1s", nil}, {span{0, day}, "99999999999d", nil},
		{size{0, 1 << 40}, "64KiB", int64(64 << 10)}, {size{0, 1 << 40}, "1 mb", int64(1e6)}, {size{0, 1 << 40}, "7", int64(7)},
		{size{0, 1 << 40}, "7B", int64(7)}, {size{8, 1 << 40}, "7", nil}, {size{0, 1 << 40}, "2TiB", nil}, {size{0, 1 << 40}, "-1", nil},
		{size{0, 1 << 62}, "9999999999TiB", nil}, {size{0, 1}, "KiB", nil},
		{sizeOrOff{size{8, 1 << 40}}, "Off", int64(-1)}, {sizeOrOff{size{8, 1 << 40}}, "0 MiB", int64(-1)}, {sizeOrOff{size{8, 1 << 40}}, "7", nil},
		{sizeOrOff{size{8, 1 << 40}}, "8", int64(8)}, {sizeOrOff{size{8, 1 << 40}}, "-1", nil}, {sizeOrOff{size{8, 1 << 40}}, "", nil},
		{numberOrOff{number{8, 100}}, "Off", -1}, {numberOrOff{number{8, 100}}, "0", -1}, {numberOrOff{number{8, 100}}, "7", nil}, {numberOrOff{number{8, 100}}, "8", 8},
		{part{}, "0.5", 0.5}, {part{}, "1", 1.0}, {part{}, "0", nil}, {part{}, "1.1", nil}, {part{}, "NaN", nil}, {part{}, "half", nil},
		{hostPort{}, ":8080", ":8080"}, {hostPort{}, "8080", nil}, {hostPort{}, "h:99999", nil}, {hostPort{}, "h:http", nil},
		{words{"a", "b"}, "A", "a"}, {words{"a", "b"}, "c", nil},
		{region{}, "gb", "GB"}, {region{}, "ZZ", nil},
	}
	for _, tt := range tests {
		got, ok := tt.kind.parse(tt.text)
		if ok != (tt.want != nil) || ok && got != tt.want {
			t.Errorf("%T %q: %v, %v; want %v", tt.kind, tt.text, got, ok, tt.want)
		}
	}
}

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for row := range all {
		if seen[row.env] || row.flag() != "" && seen[row.flag()] {
			t.Errorf("%s is there twice", row.env)
		}
		seen[row.env], seen[row.flag()] = true, true
		if row.help == "" {
			t.Errorf("%s has no help", row.env)
		}
		if row.def == "" {
			continue
		}
		if v, ok := row.value.parse(row.def); !ok {
			t.Errorf("the default of %s is not allowed: %q (%v)", row.env, row.def, v)
		}
	}
	for _, env := range []string{
		"REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "REDIS_DB", "REDIS_TLS", "REDIS_URL", "USE_REDIS", "NODE_ENV", "REDIS_USERNAME",
		"REDIS_CA_FILE", "REDIS_MODE", "REDIS_ADDRS", "REDIS_SENTINEL_MASTER", "JACKCACHE_ADDR", "JACKCACHE_DATA_DIR",
		"REDIS_PASSWORD_FILE", "REDIS_CERT_FILE", "REDIS_KEY_FILE", "REDIS_TLS_SERVER_NAME", "REDIS_SENTINEL_USERNAME",
		"REDIS_SENTINEL_PASSWORD", "REDIS_SENTINEL_PASSWORD_FILE", "REDIS_SENTINEL_TLS", "JACKCACHE_REDIS_CONNECTIONS",
	} {
		if !seen[env] {
			t.Errorf("%s is missing", env)
		}
	}
	for _, secret := range []string{"REDIS_PASSWORD", "REDIS_SENTINEL_PASSWORD", "REDIS_URL", "JACKCACHE_API_TOKEN"} {
		for row := range all {
			if row.env == secret && (!row.secret || row.flag() != "") {
				t.Errorf("%s is a secret", secret)
			}
		}
	}
}

func TestNoSettingIsShadowedByAFlag(t *testing.T) {
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	a.newRoot()
	for _, cmd := range a.root.Commands() {
		for row := range all {
			if row.flag() != "" && cmd.LocalNonPersistentFlags().Lookup(row.flag()) != nil {
				t.Errorf("%s --%s hides the setting %s", cmd.Name(), row.flag(), row.env)
			}
		}
		if cmd.Example == "" && !slices.Contains([]string{"completion", "help"}, cmd.Name()) {
			t.Errorf("%s has no example", cmd.Name())
		}
	}
}

// The files that are made from the table are as the table says.
func TestSettingsPage(t *testing.T) {
	for name, want := range map[string]string{
		"../../docs/configuration.md": settingsPage(),
		"../../.env.example":          settingsExample(),
	} {
		if *update {
			if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		} else if string(got) != want {
			t.Errorf("%s is not what the table of settings says; run go test ./internal/cli -run TestSettingsPage -update", name)
		}
	}
}
