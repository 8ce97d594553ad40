// Package report makes the page docs/benchmarks.md, and its charts, of a file of results. The same
// results make the same page. A cell without a value has a footnote with the reason; where the
// results have neither, there is an error and no page.
package report
