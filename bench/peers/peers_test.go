package peers

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/S4AK4N/pool/bench/harness"
)

func TestEachPeerDoesWhatItsTraitsSay(t *testing.T) {
	for _, p := range All {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			if err := harness.Verify(p); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestThisPoolDoesNothingWrong(t *testing.T) {
	for _, name := range []string{"order", "cancel", "restart", "memory", "cold", "spike/hold=2ms",
		"cycle/goroutines=8/size=2/hold=yield", "cycle/goroutines=64/size=16/hold=10us"} {
		t.Run(name, func(t *testing.T) {
			s, err := harness.Find(name)
			if err != nil {
				t.Fatal(err)
			}
			res := harness.One(own, s, true)
			if res.Failed != "" || res.Lacks != "" || len(res.Wrong) > 0 {
				t.Errorf("%+v", res)
			}
		})
	}
}

func TestEachPeerHasTheVersionThatIsBuilt(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range All {
		if p.How == "" {
			t.Errorf("%s: nobody is told how it is used", p.Name)
		}
		if p.Module == "" {
			continue
		}
		if !regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(p.Module) + `$`).Match(mod) {
			t.Errorf("%s: go.mod does not require %q", p.Name, p.Module)
		}
	}
}

func TestEachPeerThatLacksSomethingSaysWhy(t *testing.T) {
	names := map[string]bool{}
	for _, p := range All {
		if names[p.Name] {
			t.Errorf("two peers are named %q", p.Name)
		}
		names[p.Name] = true
		for trait, why := range p.Lacks {
			if strings.TrimSpace(why) == "" {
				t.Errorf("%s lacks %s without a reason", p.Name, trait)
			}
		}
	}
}

func TestRedisServerReadsACommandOnlyWhenAllOfItIsThere(t *testing.T) {
	const whole = "*2\r\n$6\r\nNUMBER\r\n$1\r\nx\r\n"
	for n := range whole {
		if name, _, err := redisCommand([]byte(whole[:n])); name != nil || err != nil {
			t.Errorf("%q is read as %q (%v)", whole[:n], name, err)
		}
	}
	name, rest, err := redisCommand([]byte(whole + "*1"))
	if string(name) != "NUMBER" || string(rest) != "*1" || err != nil {
		t.Errorf("read %q, then %q (%v)", name, rest, err)
	}
	if _, _, err := redisCommand([]byte("PING\r\n")); err == nil {
		t.Error("what is no array is read")
	}
}
