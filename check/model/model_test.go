// Package model holds the Promela models of the pool and its ring, and a test that
// they and the code name the same operations. See README.md.
package model

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The directories whose code the models mirror, from here, by what stands before the names
// of their files.
var sources = map[string]string{
	"": "../../internal/core", "queue/": "../../internal/queue", "sight/": "../../internal/sight",
	"histogram/": "../../internal/histogram", "ring/": "../../ring",
}

// leftOut says which operations no model mirrors, and why. One without a number is for all
// that differ in the number only.
var leftOut = []struct{ reason, operations string }{
	{"Counters and logs. They are read for Stats and for messages; nothing is decided on them.", `
		close.go destroyEmptied closed[].Inc
		slots.go claim claims.Inc
		limit.go abandoned abandoned.Inc
		hooks.go warn next.CompareAndSwap
		hooks.go warn skipped.Inc
		hooks.go warn skipped.Swap
		open.go opened opened.Inc
		outage.go endOutage next.Store
		outage.go endOutage lastOpen.CompareAndSwap
		reset.go Reset lastOpen.CompareAndSwap
		outage.go judge lastOpen.Store
		budget.go budgetFailed lastOpen.Store
		open.go hang lastOpen.Store
		open.go opened lastOpen.Store
		open.go openFailed openErrors.Inc
		open.go openFailed lastOpen.Store
		pool.go Detach detached.Inc
		counters.go gets mostGets.CompareAndSwap
		same.go awaitSame canceled.Inc
		same.go countGone gone.Inc
		same.go registerSame rejected.Inc
		same.go waitSame sameWaits.Inc
		same.go awaitSame timeouts.Inc
		wait.go refused canceled.Inc
		wait.go refused timeouts.Inc
		wait.go refused unavailable.Inc
		wait.go register rejected.Inc
		wait.go waitOnce canceled.Inc
		wait.go wait unavailable.Inc
		close.go shut lastMax.Store
		pool.go init stripes.Inc`},
	{"How many wait for a single connection: whether it is worth looking for one, and MaxWaiters. A model looks each time.", `
		same.go registerSame same.Inc
		same.go registerSame same.CompareAndSwap
		same.go waitSame same.Dec
		wait.go unregister same.Dec`},
	{"Which error a GetSame gets whose connection is gone.", `
		close.go part gone[].Store`},
	{"Who comes first makes the queue of a connection: one swap decides.", `
		same.go line same.CompareAndSwap`},
	{"How many are reserved: whether it is worth looking for one, and Stats. A model looks each time.", `
		reserve.go reserve reserved.Inc
		reserve.go takeReserved reserved.Dec
		reserve.go unreserve reserved.Dec`},
	{"When the sweeper looks for a reservation that has ended: it may end at any time in a model. The explorer goes through who sees whom (TestExploreTheEndOfAReservation).", `
		pass.go pass lapseAt.Store
		pool.go init lapseAt.Store
		reserve.go reserve endSoon.Store
		sweep.go duties lapseAt.Store`},
	{"Which lease follows which: nothing is decided on it.", `
		pool.go putSlow apart.Store`},
	{"The number of a pool in its process, before anybody has the pool.", `
		pool.go Init pools.Inc`},
	{"For the explorer: it comes before each call that takes the mutex.", `
		rights.go enter calls.Inc`},
	{"Where a pool stands in the line is a choice in the model.", `
		budget.go hasRights gotRight.Store`},
	{"It goes with what the mutex guards, which the model has.", `
		rights.go place asks.Store`},
	{"Nobody asks for what is in a goroutine's hands: it saves an idle connection of another pool. That it keeps nobody waiting is explored.", `
		budget.go among inHand.Add
		budget.go openWithin inHand.Add
		budget.go holds inHand.Add
		budget.go holds granted.Add`},
	{"Which attempts are under way, so that one that hangs is found; it is given up by a swap of its state.", `
		open.go begin opening[].Store
		open.go end opening[].Store
		aside.go readmit opening[].Store
		aside.go setAside opening[].Store`},
	{"Whether a lease has come back since the last failure, and how many have ended unused: both are choices in the models.", `
		outage.go failed back.Store
		pool.go putSlow back.Store
		pool.go putSlow unused.Inc`},
	{"Histograms have a test of their own, and nothing depends on them.", `
		histogram/recorder.go begin stripes[].CompareAndSwap
		histogram/recorder.go Record counts[].Inc
		histogram/recorder.go Record sum.Add
		histogram/recorder.go Record sum.Store`},
	{"What is remembered of a lease for those who look for leaks. It decides nothing but what is reported.", `
		sight/sight.go Note stack.Store
		sight/sight.go Note placed.Store
		sight/sight.go Note taken.Store
		sight/sight.go Note where.Store
		sight/sight.go Forget word.CompareAndSwap
		sight/sight.go See at.Store
		sight/sight.go Began at.Store
		leak.go see leaked.Inc
		sight/sight.go See word.Store`},
	{"Which goroutine has which suspect probed: each takes the next number. What they do with the slots is in the model.", `
		probe.go probe next.Inc`},
	{"For tests.", `
		inside.go SetAhead pretended.Store
		inside.go SetOutage outage.Store`},
	{"Not an atomic.", `
		queue/waiter.go segment unsafe.Add
		probe.go wallAhead Round().Sub
		probe.go wallAhead now.Sub
		leak.go info epoch.Add
		outage.go unavailableError epoch.Add
		budget.go askedSince epoch.Add
		budget.go longestIdle epoch.Add
		budget.go yieldsTo epoch.Add`},
	{"How many call GetFresh: whether it is worth looking for one. A model looks each time.", `
		fresh.go GetFresh fresh.Inc
		fresh.go GetFresh fresh.Dec`},
	{"Which error a holder gets whose lease Close or Revoke has ended.", `
		revoke.go revokeFor revoked.Store
		revoke.go notLeased told.CompareAndSwap`},
	{"How many are being closed whose slots are free already. It decides whether a slot is free before or after its Close; a model with STRICT=2 may do either.", `
		close.go closeBehind behind.CompareAndSwap
		close.go closedBehind behind.Dec
		open.go open behind.Inc
		open.go openFailed behind.Inc`},
	{"Whose values Open gets. Nothing is decided on them.", `
		queue/parker.go SetValues values.Store
		queue/waiter.go Strip values.Store`},
	{"What a parker says of the wait that is about to begin. It is read anew if the waiter is not live afterwards.", `
		queue/parker.go Begin since.Store
		queue/parker.go SetTicket ticket.Store`},
	{"The most that has been told, so that it never falls.", `
		queue/queue.go Waits waits.CompareAndSwap`},
	{"Before the pool is anybody else's.", `
		pool.go Init gate.Store
		pool.go init banks.Store
		pool.go Init conns.Store
		pool.go init era.Store
		sweep.go init unaware.Store`},
	{"The pool's coarse clock, and how long opening takes: time is a choice in the models.", `
		sweep.go advanceTick tick.CompareAndSwap
		quota.go learnOpenTime took.Store`},
	{"When the sweeper is to do what it may do at any time in the models: pass over the slots, or unlink, or look at connections on probation.", `
		open.go attemptOver warmOn.Store
		warm.go hopeAnew warmOn.Store
		open.go opened trials.Store
		outage.go endTrials trials.Store
		pass.go pass warmOn.Store
		pass.go restock warming.Store
		sweep.go passSoon passNow.Store
		sweep.go sweepClosed passNow.Store
		sweep.go sweep dead.Store
		sweep.go sweepAside dead.Inc`},
	{"The sweeper's goroutine begins once; in the models it is there from the start.", `
		sweep.go kickSweeper started.CompareAndSwap`},
	{"Goroutines of the pool are counted when they begin. The model has an attempt and the sweeper; a round of checks is another.", `
		look.go admitFor workers.Inc
		look.go apart workers.Inc
		owner.go limitMoved workers.Inc
		probe.go suspectIdle workers.Inc
		sweep.go kickSweeper workers.Inc
		sweep.go duties workers.Inc`},
	{"One round of checks at a time, and how many slots it and the probes have in hand, for Stats and MinIdle. A round is a probe, as far as the slots are concerned.", `
		sweep.go duties checking.CompareAndSwap
		sweep.go checkIdle checking.Store
		sweep.go checkSlot checking.Store
		sweep.go checkSlot round.Inc
		sweep.go checkSlot checkBegan.Store
		probe.go suspectIdle probing.Inc
		probe.go suspectIdle probing.Dec
		probe.go suspectIdle round.Add
		limit.go leaveCall checking.Store
		limit.go leaveCall round.Inc`},
	{"How many MinIdle has asked for already, so that it asks for no more. At worst it asks once too often.", `
		open.go begin spares.Inc
		open.go attemptOver spares.Dec
		aside.go setAside spares.Dec
		aside.go readmit spares.Inc
		aside.go readmit spares.Dec`},
	{"How the attempt of an Add has ended, told once. Add is explored with what may end it (TestExploreAnAdd…).", `
		warm.go Add told<-`},
	{"Warm's sleep until the next attempt has ended: it takes the channel, then looks; the channel is closed after the change. Warm is stepped through in check/steps.", `
		warm.go Warm failed<-
		warm.go nextEnd ended.CompareAndSwap
		warm.go openEnded ended.CompareAndSwap
		warm.go openEnded ch.close`},
	{"How many have been opened and are neither idle nor lent yet, for Warm: it does not return before they are.", `
		open.go opened landing.Inc
		open.go opened landing.Dec`},
	{"How many looks of waiters are under way in other goroutines. Only the histories ask for it.", `
		look.go apart adrift.Inc
		look.go apart adrift.Dec`},
	{"Whether Check is known to be quick: it says in which goroutine a Get calls it, and both are right.", `
		look.go doubt wary.CompareAndSwap
		look.go looked wary.CompareAndSwap
		look.go looked wary.Store
		pool.go init wary.Store`},
	{"One goroutine waits for another and does nothing else.", `
		open.go timeAttempt made.close
		hooks.go hookApart done.close`},
	{"Hints: where a search begins, which may be anywhere in the models.", `
		ring/ring.go Claim low.CompareAndSwap
		ring/ring.go Vacate low.CompareAndSwap
		ring/search.go Regroup s.Store
		ring/search.go learn s.Store
		ring/search.go search s.Store`},
}

// changes are the names of the methods by which an atomic changes.
var changes = []string{"CompareAndSwap", "CAS", "Store", "Swap", "Add", "Sub", "Inc", "Dec", "And", "Or", "Toggle"}

// moves are the methods of ring.Ring by which a slot changes hands.
var moves = []string{"Take", "Scan", "Claim", "Fill", "Vacate", "Give", "Renew", "Publish", "Retake", "Reserve"}

// An operation is one place in the code at which a word of the protocol may change. It
// reads "file function word.Method", "file function channel<-", or "file function
// channel.close". The second such place in a function has " #2" after it.
type operation string

// operationsOf returns the operations of a file.
func operationsOf(name string, file *ast.File) []operation {
	var found []operation
	for _, decl := range file.Decls {
		function := "-" // none: a variable of the package
		if f, ok := decl.(*ast.FuncDecl); ok {
			function = f.Name.Name
		}
		times := map[operation]int{}
		note := func(what string) {
			op := operation(name + " " + function + " " + what)
			times[op]++
			if n := times[op]; n > 1 {
				op += operation(fmt.Sprintf(" #%d", n))
			}
			found = append(found, op)
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SendStmt:
				note(wordOf(n.Chan) + "<-")
			case *ast.CallExpr:
				switch f := n.Fun.(type) {
				case *ast.Ident:
					if f.Name == "close" && len(n.Args) == 1 {
						note(wordOf(n.Args[0]) + ".close")
					}
				case *ast.SelectorExpr:
					word := wordOf(f.X)
					if slices.Contains(changes, f.Sel.Name) || word == "ring" && slices.Contains(moves, f.Sel.Name) {
						note(word + "." + f.Sel.Name)
					}
				}
			}
			return true
		})
	}
	return found
}

// wordOf returns the last name of an expression: that of p.queue.head is head. After the
// name of an array stands [], after that of a function ().
func wordOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.IndexExpr:
		return wordOf(e.X) + "[]"
	case *ast.CallExpr:
		return wordOf(e.Fun) + "()"
	case *ast.ParenExpr:
		return wordOf(e.X)
	case *ast.StarExpr:
		return wordOf(e.X)
	case *ast.UnaryExpr:
		return wordOf(e.X)
	}
	return "?"
}

// inTheCode returns the operations of the code.
func inTheCode(t *testing.T) map[operation]bool {
	t.Helper()
	all := map[operation]bool{}
	for prefix, dir := range sources {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no code in %s: %v", dir, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, op := range operationsOf(prefix+filepath.Base(file), parsed) {
				all[op] = true
			}
		}
	}
	return all
}

// mirrored is the comment in a model that names the operation of the step beside it.
var mirrored = regexp.MustCompile(`/\* @ (.*?) \*/`)

// inTheModels returns the operations that the models name, and in which of them.
func inTheModels(t *testing.T) map[operation][]string {
	t.Helper()
	all := map[operation][]string{}
	for name, text := range models(t) {
		for _, m := range mirrored.FindAllStringSubmatch(text, -1) {
			if op := operation(m[1]); !slices.Contains(all[op], name) {
				all[op] = append(all[op], name)
			}
		}
	}
	return all
}

// models returns the text of the models by their names.
func models(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.pml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no models: %v", err)
	}
	all := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(file, ".pml")] = string(text)
	}
	return all
}

func TestTheModelsMirrorEachOperationOfTheCode(t *testing.T) {
	code, model := inTheCode(t), inTheModels(t)
	excused := map[operation]bool{}
	for _, group := range leftOut {
		for line := range strings.Lines(strings.TrimSpace(group.operations)) {
			out := strings.TrimSpace(line)
			stale := true
			for op := range code {
				if string(op) == out || strings.HasPrefix(string(op), out+" #") {
					stale = false
					excused[op] = true
					if in := model[op]; in != nil {
						t.Errorf("%s is left out, and is in %v", op, in)
					}
				}
			}
			if stale {
				t.Errorf("%s is left out, and is not in the code", out)
			}
		}
	}
	for _, op := range slices.Sorted(maps.Keys(code)) {
		if model[op] == nil && !excused[op] {
			t.Errorf("new in the code: mirror it in a model, with this beside the step, or add it to leftOut with the reason:\n\t/* @ %s */", op)
		}
	}
	for _, op := range slices.Sorted(maps.Keys(model)) {
		if !code[op] {
			t.Errorf("not in the code any more, but mirrored in %v:\n\t/* @ %s */", model[op], op)
		}
	}
}

func TestOperationsAreFoundWhereverTheyStand(t *testing.T) {
	const source = `package p
var v = x.Swap(0)
func (p *Pool[T]) f(w *waiter) {
	if !p.queue.head.CompareAndSwap(a, b) || w.state.Load() == 0 {
		defer func() { p.slots[i].Store(nil) }()
	}
	go func() { r.cell(slot).CompareAndSwap(0, 1) }()
	for p.gate.Sub(1) == 0 {
		b.ring.Publish(i, w); p.publish(h); c.ring.Take()
	}
	(*p.conns).Add(1)
	p.conns.Add(2)
	select {
	case ch <- t:
		close(p.allGone)
	default:
		(&u).Inc()
	}
	hash.Write(nil); time.Sleep(1)
}`
	file, err := parser.ParseFile(token.NewFileSet(), "a.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []operation{
		"a.go - x.Swap",
		"a.go f head.CompareAndSwap",
		"a.go f slots[].Store",
		"a.go f cell().CompareAndSwap",
		"a.go f gate.Sub",
		"a.go f ring.Publish",
		"a.go f ring.Take",
		"a.go f conns.Add",
		"a.go f conns.Add #2",
		"a.go f ch<-",
		"a.go f allGone.close",
		"a.go f u.Inc",
	}
	if got := operationsOf("a.go", file); !slices.Equal(got, want) {
		t.Errorf("found\n%v\nwant\n%v", got, want)
	}
}

// A seed is how a model is told to have a fault.
var seed = regexp.MustCompile(`\bBUG ?[!=]= ?(\d+)`)

func TestEachSeededFaultIsLookedFor(t *testing.T) {
	run, err := os.ReadFile("run")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\s*[sl]\|(\w+)\|.*-DBUG=(\d+)\b.*\|.`).FindAllStringSubmatch(string(run), -1) {
		rows[m[1]+" "+m[2]] = true
	}
	if len(rows) == 0 {
		t.Fatal("no rows in run")
	}
	seeded := map[string]bool{}
	for name, text := range models(t) {
		for _, m := range seed.FindAllStringSubmatch(text, -1) {
			if m[1] != "0" {
				seeded[name+" "+m[1]] = true
			}
		}
		if !strings.Contains(string(run), "|"+name+"|") {
			t.Errorf("%s.pml is not run", name)
		}
	}
	for fault := range seeded {
		if !rows[fault] {
			t.Errorf("fault %s is seeded, and not looked for in run", fault)
		}
	}
	for fault := range rows {
		if !seeded[fault] {
			t.Errorf("fault %s is looked for in run, and not seeded", fault)
		}
	}
}
