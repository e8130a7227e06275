package redisstore

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"

	"github.com/redis/rueidis"
)

var (
	//go:embed lua/value_set.lua
	valueSetSource string
	//go:embed lua/conversation.lua
	conversationSource string
	//go:embed lua/generation_bump.lua
	generationBumpSource string
	//go:embed lua/generation_raise.lua
	generationRaiseSource string
	//go:embed lua/invalidate_once.lua
	invalidateOnceSource string
	//go:embed lua/heartbeat.lua
	heartbeatSource string
	//go:embed lua/instance_claim.lua
	instanceClaimSource string
	//go:embed lua/raised_note.lua
	raisedNoteSource string
	//go:embed lua/listener_enter.lua
	listenerEnterSource string
	//go:embed lua/listener_read.lua
	listenerReadSource string
	//go:embed lua/listener_suspend.lua
	listenerSuspendSource string

	valueSet        = newScript(valueSetSource)
	conversation    = newScript(conversationSource)
	generationBump  = newScript(generationBumpSource)
	generationRaise = newScript(generationRaiseSource)
	invalidateOnce  = newScript(invalidateOnceSource)
	heartbeat       = newScript(heartbeatSource)
	instanceClaim   = newScript(instanceClaimSource)
	raisedNote      = newScript(raisedNoteSource)
	listenerEnter   = newScript(listenerEnterSource)
	listenerRead    = newScript(listenerReadSource)
	listenerSuspend = newScript(listenerSuspendSource)
)

// script is a Lua script and the name under which a server keeps it.
//
// See https://redis.io/docs/latest/develop/programmability/eval-intro/
type script struct{ source, sha string }

func newScript(source string) script {
	sum := sha1.Sum([]byte(source)) // the server names scripts so
	return script{source: source, sha: hex.EncodeToString(sum[:])}
}

// run calls the script by name, and by its source where the server does not
// know it yet. NOSCRIPT says that nothing was done, so the second call repeats
// nothing.
func (s script) run(ctx context.Context, c rueidis.Client, keys, args []string) rueidis.RedisResult {
	n := int64(len(keys))
	res := c.Do(ctx, c.B().Evalsha().Sha1(s.sha).Numkeys(n).Key(keys...).Arg(args...).Build())
	if re, ok := rueidis.IsRedisErr(res.Error()); ok && re.IsNoScript() {
		return c.Do(ctx, c.B().Eval().Script(s.source).Numkeys(n).Key(keys...).Arg(args...).Build())
	}
	return res
}
