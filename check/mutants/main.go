// Command mutants checks the tests: it leaves out each guard of the ring, of the pool's
// core and of its groups, one at a time, and runs the suite, which must fail. The script run in this folder
// runs it; survivors.md says what has come of it.
//
//	mutants list [-only REGEXP]
//	mutants run [-only REGEXP] [-sample N] [-seed N] [-stages A,B] [-out FILE]
//	mutants sum FILE...
//
// All mutants are compiled into one test binary for each stage, behind a variable that is
// read from the environment, so a mutant costs no more than the tests up to the first that
// fails. A mutant has a name that does not depend on those in other functions:
// internal/core/settle.go:grant:if1 is the first if of grant.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// folders are those of the ring, of the pool's core and of its groups. All their files are
// mutated, so that a new one is not forgotten, but for those in spared.
var folders = []string{"ring", "internal/queue", "internal/words", "internal/sight", "internal/core", "internal/group"}

// spared are files that only tests need.
var spared = []string{"internal/core/inside.go", "internal/queue/walk.go", "internal/group/inside.go"}

// shell are the files with guards of the package that users see, but for texts and figures.
var shell = []string{"config.go", "factory.go", "group.go", "pool.go"}

// mutatedFiles returns the files that are mutated, in their order.
func mutatedFiles(root string) (files []string, err error) {
	for _, f := range folders {
		entries, err := os.ReadDir(filepath.Join(root, f))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			name := f + "/" + e.Name()
			if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && !slices.Contains(spared, name) {
				files = append(files, name)
			}
		}
	}
	return append(files, shell...), nil
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("mutants: ")
	if len(os.Args) < 2 {
		log.Fatal("which command: list, run or sum?")
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	only := flags.String("only", "", "only mutants whose name matches this `regexp`")
	sample := flags.Int("sample", 0, "no more than so many of each file, drawn at random; 0: all")
	seed := flags.Uint64("seed", 1, "of the sample")
	wanted := flags.String("stages", strings.Join(stageNames, ","), "what to run, in this order")
	out := flags.String("out", "", "append the results to this `file`, and leave out those that are in it")
	_ = flags.Parse(os.Args[2:]) // it exits
	var err error
	switch os.Args[1] {
	case "list":
		err = list(*only, *sample, *seed)
	case "run":
		err = run(*only, *sample, *seed, strings.Split(*wanted, ","), *out)
	case "sum":
		err = sum(flags.Args())
	default:
		err = fmt.Errorf("there is no command %q", os.Args[1])
	}
	if err != nil {
		log.Fatal(err)
	}
}

// root returns the directory of the module, which is that of its go.mod.
func root() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if mod, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && strings.HasPrefix(string(mod), "module github.com/S4AK4N/pool\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("run it in the module")
		}
	}
	return "", err
}

// generate returns the directory of the module, all mutants, and the sources with them in it.
func generate() (dir string, all []mutant, sources map[string][]byte, err error) {
	if dir, err = root(); err != nil {
		return "", nil, nil, err
	}
	files, err := mutatedFiles(dir)
	if err != nil {
		return "", nil, nil, err
	}
	sources = map[string][]byte{}
	for _, f := range files {
		source, mutants, err := mutate(dir, f, len(all))
		if err != nil {
			return "", nil, nil, err
		}
		sources[f] = source
		all = append(all, mutants...)
	}
	return dir, all, sources, nil
}

// choose returns those of all that are asked for.
func choose(all []mutant, only string, sample int, seed uint64) ([]mutant, error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(slices.Clone(all), func(m mutant) bool { return !pattern.MatchString(m.id) })
	if sample <= 0 {
		return all, nil
	}
	random := rand.New(rand.NewPCG(seed, 0))
	var chosen []mutant
	for _, f := range filesOf(all) {
		of := slices.DeleteFunc(slices.Clone(all), func(m mutant) bool { return m.file != f })
		random.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
		of = of[:min(sample, len(of))]
		slices.SortFunc(of, func(a, b mutant) int { return a.number - b.number })
		chosen = append(chosen, of...)
	}
	return chosen, nil
}

// filesOf returns the files of all, in their order.
func filesOf(all []mutant) (files []string) {
	for _, m := range all {
		if len(files) == 0 || files[len(files)-1] != m.file {
			files = append(files, m.file)
		}
	}
	return files
}

func list(only string, sample int, seed uint64) error {
	_, all, _, err := generate()
	if err != nil {
		return err
	}
	chosen, err := choose(all, only, sample, seed)
	for _, m := range chosen {
		fmt.Printf("%-40s line %3d  %s\n", m.id, m.line, m.change)
	}
	return err
}

// results are what is known of mutants: a line for each, "name<tab>stage or survived<tab>test".
type results map[string][2]string

func (r results) read(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if columns := strings.Split(lines.Text(), "\t"); len(columns) == 3 {
			r[columns[0]] = [2]string{columns[1], columns[2]}
		}
	}
	return lines.Err()
}

// sum prints how many mutants of each file each stage has caught, and the survivors. What
// a later file says of a mutant counts.
func sum(from []string) error {
	_, all, _, err := generate()
	if err != nil {
		return err
	}
	r := results{}
	for _, f := range from {
		if err := r.read(f); err != nil {
			return err
		}
	}
	type row struct {
		all, run int
		by       map[string]int
	}
	rows := map[string]*row{}
	total := &row{by: map[string]int{}}
	var survivors []mutant
	hung := 0
	for _, m := range all {
		if rows[m.file] == nil {
			rows[m.file] = &row{by: map[string]int{}}
		}
		for _, row := range []*row{rows[m.file], total} {
			row.all++
			if result, ok := r[m.id]; ok {
				row.run++
				row.by[result[0]]++
			}
		}
		if r[m.id][0] == survived {
			survivors = append(survivors, m)
		}
		if strings.HasPrefix(r[m.id][1], hang) {
			hung++
		}
	}
	columns := append(slices.Clone(stageNames), survived)
	fmt.Printf("| file | mutants | run | %s |\n|---|---|---|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	line := func(name string, row *row) {
		fmt.Printf("| %s | %d | %d |", name, row.all, row.run)
		for _, c := range columns {
			fmt.Printf(" %d |", row.by[c])
		}
		fmt.Println()
	}
	for _, f := range filesOf(all) {
		line(f, rows[f])
	}
	line("all", total)
	fmt.Printf("\n%d of %d caught (%.1f %%), %d of them because the tests hung\n\n", total.run-total.by[survived], total.run,
		100*float64(total.run-total.by[survived])/float64(max(total.run, 1)), hung)
	for _, m := range survivors {
		fmt.Printf("%-40s line %3d  %s\n", m.id, m.line, m.change)
	}
	return nil
}
