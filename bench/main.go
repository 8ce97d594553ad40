package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/S4AK4N/pool/bench/behaviour"
	"github.com/S4AK4N/pool/bench/ecosystems"
	"github.com/S4AK4N/pool/bench/harness"
	"github.com/S4AK4N/pool/bench/peers"
	"github.com/S4AK4N/pool/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if done, err := harness.Inner(args, peers.All, os.Stdout); done {
		return err
	}
	if done, err := behaviour.Inner(args, peers.All, os.Stdout); done {
		return err
	}
	if len(args) > 0 {
		switch args[0] {
		case "measure":
			return measure(ctx, args[1:])
		case "report":
			return write(args[1:])
		case "behaviour":
			return behave(ctx, args[1:])
		case "ecosystems":
			return others(ctx, args[1:])
		case "scenarios":
			for _, s := range harness.Scenarios {
				fmt.Println(s.Name)
			}
			return nil
		}
	}
	return errors.New("say one of measure, report, behaviour, ecosystems, verify, scenarios, peers, one, answer; -h after the first four tells their flags")
}

func measure(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("measure", flag.ExitOnError)
	out := flags.String("o", "results.jsonl", "`file` for the results")
	reps := flags.Int("reps", 10, "repetitions")
	slow := flags.Int("slow", 5, "repetitions of the scenarios that take seconds")
	cpus := flags.String("cpu", "1,2", "processors, one after the other")
	short := flags.Bool("short", false, "a tenth of the time: to see that it works, not for numbers")
	all := flags.Bool("all", false, "all combinations of goroutines, sizes and holds, not only those in the tables")
	scenarios := flags.String("run", "", "only scenarios that match this `regexp`")
	names := flags.String("peers", "", "only peers that match this `regexp`")
	with := flags.String("with", "", "other `programs` with peers, separated by commas")
	commit := flags.String("commit", "", "`what` is measured")
	command := flags.String("command", "bench "+strings.Join(os.Args[1:], " "), "`how` it was called")
	if err := flags.Parse(args); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	plan := harness.Plan{Programs: []string{self}, Reps: *reps, SlowReps: *slow, Short: *short, All: *all, Progress: os.Stderr}
	if *with != "" {
		plan.Programs = append(plan.Programs, strings.Split(*with, ",")...)
	}
	for s := range strings.SplitSeq(*cpus, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return fmt.Errorf("-cpu %s: numbers from 1, separated by commas", *cpus)
		}
		plan.CPUs = append(plan.CPUs, n)
	}
	if plan.Scenarios, err = regexp.Compile(*scenarios); err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	if plan.Peers, err = regexp.Compile(*names); err != nil {
		return fmt.Errorf("-peers: %w", err)
	}
	file, err := os.Create(*out)
	if err != nil {
		return err
	}
	err = plan.Measure(ctx, file, *commit, *command)
	if e := file.Close(); err == nil {
		err = e
	}
	return err
}

// write makes the page and what belongs to it. It writes nothing unless all of it can be made.
func write(args []string) error {
	flags := flag.NewFlagSet("report", flag.ExitOnError)
	in := flags.String("i", "results.jsonl", "`file` with results")
	page := flags.String("page", "../docs/benchmarks.md", "`file` whose part above its marker is written anew; charts go to a directory beside it")
	out := flags.String("o", "", "`file` to write instead, if not the page itself")
	partial := flags.Bool("partial", false, "leave out the tables that there are no results for")
	if err := flags.Parse(args); err != nil {
		return err
	}
	file, err := os.Open(*in)
	if err != nil {
		return err
	}
	defer file.Close()
	header, results, err := harness.Read(file)
	if err != nil {
		return fmt.Errorf("%s: %w", *in, err)
	}
	before, err := os.ReadFile(*page)
	if err != nil {
		return err
	}
	text, files, err := report.Page(header, results, string(before), *partial)
	if err != nil {
		return err
	}
	if *out == "" {
		*out = *page
	}
	if err := os.MkdirAll(filepath.Join(filepath.Dir(*out), "benchmarks"), 0o777); err != nil {
		return err
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(filepath.Dir(*out), name), b, 0o666); err != nil {
			return err
		}
	}
	return os.WriteFile(*out, []byte(text), 0o666)
}

// behave asks what pools do, and writes or compares the page.
func behave(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("behaviour", flag.ExitOnError)
	page := flags.String("o", "../docs/behaviour.md", "`file` to write")
	with := flags.String("with", "", "other `programs` with peers, separated by commas")
	check := flags.Bool("check", false, "write nothing, and fail if the file says otherwise")
	if err := flags.Parse(args); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	programs := []string{self}
	if *with != "" {
		programs = append(programs, strings.Split(*with, ",")...)
	}
	infos, answers, err := behaviour.Ask(ctx, programs)
	if err != nil {
		return err
	}
	text, err := behaviour.Page(infos, answers)
	if err != nil {
		return err
	}
	if !*check {
		return os.WriteFile(*page, []byte(text), 0o666)
	}
	old, err := os.ReadFile(*page)
	if err != nil {
		return err
	}
	return behaviour.Same(string(old), text)
}

// others measures the pools of other languages, and writes their part of the page.
func others(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("ecosystems", flag.ExitOnError)
	list := flags.String("runners", "", "`file` with the runners, one a line")
	page := flags.String("page", "../docs/benchmarks.md", "`file` a part of which is written anew")
	reps := flags.Int("reps", 3, "repetitions")
	command := flags.String("command", "", "`how` it was called")
	if err := flags.Parse(args); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	lines, err := os.ReadFile(*list)
	if err != nil {
		return err
	}
	var runners []ecosystems.Runner
	for line := range strings.Lines(string(lines)) {
		var r ecosystems.Runner
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return err
		}
		runners = append(runners, r)
	}
	machine := harness.Machine()
	values, err := ecosystems.Measure(ctx, self, runners, *reps, os.Stderr)
	if err != nil {
		return err
	}
	before, err := os.ReadFile(*page)
	if err != nil {
		return err
	}
	text, err := ecosystems.Page(string(before), *command, machine, runners, values)
	if err != nil {
		return err
	}
	return os.WriteFile(*page, []byte(text), 0o666)
}
