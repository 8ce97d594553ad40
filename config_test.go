package pool

import (
	"math"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/S4AK4N/pool/internal/core"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestConfigHasTheDocumentedEffectiveValues(t *testing.T) {
	defaults := Config{
		MaxConnections: 10,
		MaxIdleTime:    30 * time.Second,
		MaxWaitTime:    5 * time.Second,
		MaxWaiters:     0,
		OpenTimeout:    10 * time.Second,
		CheckInterval:  time.Second,
		MaxBackoff:     500 * time.Millisecond,
		MaxRetryAfter:  5 * time.Minute,
	}
	with := func(change func(*Config)) Config {
		c := defaults
		change(&c)
		return c
	}
	tests := []struct {
		name      string
		give      Config
		effective Config
	}{
		{"zero", Config{}, defaults},
		{"MaxConnections 1", Config{MaxConnections: 1}, with(func(c *Config) { c.MaxConnections = 1 })},
		{"MaxConnections 65535", Config{MaxConnections: 65535}, with(func(c *Config) { c.MaxConnections = 65535 })},
		{"MaxIdleTime 1ns", Config{MaxIdleTime: 1}, with(func(c *Config) { c.MaxIdleTime = 1 })},
		{"MaxIdleTime negative", Config{MaxIdleTime: -1}, with(func(c *Config) { c.MaxIdleTime = -1 })},
		{"MaxIdleTime longest", Config{MaxIdleTime: math.MaxInt64}, with(func(c *Config) { c.MaxIdleTime = core.Forever })},
		{"MaxWaitTime 1ns", Config{MaxWaitTime: 1}, with(func(c *Config) { c.MaxWaitTime = 1 })},
		{"MaxWaitTime negative", Config{MaxWaitTime: math.MinInt64}, with(func(c *Config) { c.MaxWaitTime = math.MinInt64 })},
		{"MaxWaitTime longest", Config{MaxWaitTime: math.MaxInt64}, with(func(c *Config) { c.MaxWaitTime = core.Forever })},
		{"MaxWaiters", Config{MaxWaiters: 7}, with(func(c *Config) { c.MaxWaiters = 7 })},
		{"MaxWaiters negative", Config{MaxWaiters: -1}, with(func(c *Config) { c.MaxWaiters = -1 })},
		{"MaxWaiters most", Config{MaxWaiters: math.MaxInt}, with(func(c *Config) { c.MaxWaiters = math.MaxInt })},
		{"OpenTimeout negative", Config{OpenTimeout: -1}, with(func(c *Config) { c.OpenTimeout = -1 })},
		{"OpenTimeout longest", Config{OpenTimeout: math.MaxInt64}, with(func(c *Config) { c.OpenTimeout = core.Forever })},
		{"CheckInterval negative", Config{CheckInterval: -1}, with(func(c *Config) { c.CheckInterval = -1 })},
		{"CheckInterval longest", Config{CheckInterval: math.MaxInt64}, with(func(c *Config) { c.CheckInterval = core.Forever })},
		{"MaxLifetime 1ns", Config{MaxLifetime: 1}, with(func(c *Config) { c.MaxLifetime = 1 })},
		{"MaxLifetime longest", Config{MaxLifetime: math.MaxInt64}, with(func(c *Config) { c.MaxLifetime = core.Forever / 2 })},
		{"MinIdle", Config{MinIdle: 3}, with(func(c *Config) { c.MinIdle = 3 })},
		{"MinIdle most", Config{MinIdle: 10}, with(func(c *Config) { c.MinIdle = 10 })},
		{"MaxOpening", Config{MaxOpening: 3}, with(func(c *Config) { c.MaxOpening = 3 })},
		{"MaxOpening most", Config{MaxOpening: math.MaxInt}, with(func(c *Config) { c.MaxOpening = math.MaxInt })},
		{"OpenEagerly", Config{OpenEagerly: true}, with(func(c *Config) { c.OpenEagerly = true })},
		{"StrictMax", Config{StrictMax: true}, with(func(c *Config) { c.StrictMax = true })},
		{"LeakAfter 1ns", Config{LeakAfter: 1}, with(func(c *Config) { c.LeakAfter = 1 })},
		{"LeakAfter longest", Config{LeakAfter: math.MaxInt64}, with(func(c *Config) { c.LeakAfter = core.Forever })},
		{"LeakCallers", Config{LeakCallers: true}, with(func(c *Config) { c.LeakCallers = true })},
		{"Name", Config{Name: "db"}, with(func(c *Config) { c.Name = "db" })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.give.normalize()
			if err != nil {
				t.Fatal(err)
			}
			if got.Logger == nil {
				t.Error("Logger is nil, want a silent one")
			}
			if diff := cmp.Diff(tt.effective, got, cmpopts.IgnoreFields(Config{}, "Logger")); diff != "" {
				t.Errorf("effective values (-want +got):\n%s", diff)
			}
		})
	}
}

// The shell and the core have structs of their own for the same thing: what one has and the
// other has not would be forgotten on the way.
func TestNothingIsForgottenOnTheWayToTheCore(t *testing.T) {
	onlyIn := map[reflect.Type]map[string]bool{
		reflect.TypeFor[core.Config](): {"Exhausted": true, "OpenFailed": true, "Unavailable": true},
		// Nobody can make one of these here. The tests of Revoke see whether it gets through.
		reflect.TypeFor[LeaseInfo]():      {"lease": true},
		reflect.TypeFor[core.LeaseInfo](): {"Lease": true},
	}
	for _, tt := range []struct{ shell, core reflect.Type }{
		{reflect.TypeFor[Config](), reflect.TypeFor[core.Config]()},
		{reflect.TypeFor[Stats](), reflect.TypeFor[core.Stats]()},
		{reflect.TypeFor[Hooks](), reflect.TypeFor[core.Hooks]()},
		{reflect.TypeFor[LeaseInfo](), reflect.TypeFor[core.LeaseInfo]()},
		{reflect.TypeFor[Factory[int]](), reflect.TypeFor[core.Factory]()},
	} {
		names := func(typ, other reflect.Type) (names []string) {
			for i := range typ.NumField() {
				if name := typ.Field(i).Name; !onlyIn[typ][name] {
					names = append(names, name)
				}
			}
			return names
		}
		if diff := cmp.Diff(names(tt.shell, tt.core), names(tt.core, tt.shell)); diff != "" {
			t.Errorf("%v and that of the core (-shell +core):\n%s", tt.shell, diff)
		}
	}

	filled := func(typ reflect.Type) reflect.Value {
		v := reflect.New(typ).Elem()
		for i := range typ.NumField() {
			v.Field(i).Set(something(typ.Field(i).Type))
		}
		return v
	}
	config := filled(reflect.TypeFor[Config]()).Interface().(Config)
	bare := config.bare(func(any) any { return nil })
	for _, v := range []any{
		bare, bare.Hooks,
		statsOf(filled(reflect.TypeFor[core.Stats]()).Interface().(core.Stats)),
		leaseInfoOf(filled(reflect.TypeFor[core.LeaseInfo]()).Interface().(core.LeaseInfo), func(box any) any { return box }),
		filled(reflect.TypeFor[Factory[int]]()).Interface().(Factory[int]).boxed(),
	} {
		r := reflect.ValueOf(v)
		for i := range r.NumField() {
			if r.Field(i).IsZero() && !onlyIn[r.Type()][r.Type().Field(i).Name] {
				t.Errorf("%v.%s has been forgotten", r.Type(), r.Type().Field(i).Name)
			}
		}
	}
}

// something returns a value that is not zero.
func something(typ reflect.Type) reflect.Value {
	v := reflect.New(typ).Elem()
	switch typ.Kind() {
	case reflect.Struct:
		if typ == reflect.TypeFor[time.Time]() {
			return reflect.ValueOf(time.Unix(1, 1))
		}
		for i := range typ.NumField() {
			if typ.Field(i).IsExported() {
				v.Field(i).Set(something(typ.Field(i).Type))
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(typ.Elem()))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(typ, 1, 1))
	case reflect.Func:
		v.Set(reflect.MakeFunc(typ, nil))
	case reflect.Interface:
		if typ == reflect.TypeFor[Budget]() {
			return reflect.ValueOf(NewBudget(1))
		}
		v.Set(reflect.ValueOf(ErrClosed))
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	default:
		v.Set(reflect.ValueOf(1).Convert(typ))
	}
	return v
}

// factory.go isNil: a nil pointer in an interface is nil, too.
func TestANilPointerInAnInterfaceIsNoConnection(t *testing.T) {
	for v, want := range map[any]bool{(*int)(nil): true, 0: false, "": false, new(int): false} {
		if got := isNil(v); got != want {
			t.Errorf("isNil of %T(%v) is %v, want %v", v, v, got, want)
		}
	}
	var none net.Conn
	if !isNil(none) {
		t.Error("a nil interface is not nil")
	}
}

// factory.go box, unbox: whatever T is, what comes out of the box is what has been put in.
func TestABoxGivesBackWhatIsPutIntoIt(t *testing.T) {
	type pair struct{ a, b int }
	in, conn := new(int), net.Conn(new(net.TCPConn))
	if got := unbox[*int](box(in)); got != in {
		t.Errorf("a pointer came out as %v, want %v", got, in)
	}
	if got := unbox[pair](box(pair{1, 2})); got != (pair{1, 2}) {
		t.Errorf("a struct came out as %v", got)
	}
	if got := unbox[net.Conn](box(conn)); got != conn {
		t.Errorf("an interface came out as %v, want %v", got, conn)
	}
	if got := unbox[any](box[any](&in)); got != &in {
		t.Errorf("a pointer to a pointer in an any came out as %v, want %v", got, &in)
	}
	if got := unbox[net.Conn](nil); got != nil {
		t.Errorf("of no box came %v", got)
	}
}
