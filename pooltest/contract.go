package pooltest

import "strings"

// A contract is a sentence of the documentation of package pool that a Factory must hold.
type contract struct {
	where string // what it is the documentation of
	text  string // word for word; a test looks it up
}

// The contracts, by what breaks them.
var (
	anyGoroutine = contract{"Factory", "The pool calls these functions from any goroutine, and for different connections at the same time."}
	noPanic      = contract{"Factory", "A panic counts as an error."}
	returns      = contract{"Factory", "A function that does not return is abandoned: Open, Expires and Watch one second after [Config.OpenTimeout], Check, Probe, Clean and Close after ten seconds."}
	holdsPut     = contract{"Factory", "A Put that is in Clean or Check, and a TryGet that is in Check, return only when that function returns."}
	opens        = contract{"Factory.Open", "Open opens a connection."}
	openEnds     = contract{"Factory.Open", "ctx ends after [Config.OpenTimeout], and when the pool is closed or reset"}
	openBeside   = contract{"Factory.Open", "A connection that Open returns beside an error is ignored: Open itself closes what it has opened before it fails."}
	closes       = contract{"Factory.Close", "Close closes conn."}
	closeOnce    = contract{"Factory.Close", "The pool calls Close once for each connection"}
	closeInUse   = contract{"Factory.Close", "[Pool.Close], Shutdown and [Pool.Revoke] may have it called while a caller uses conn, or Check or Clean looks at it; Close must allow that, as network connections do."}
	checkLooks   = contract{"Factory.Check", "It should not block: it may look at a flag that a reader sets, or read with a deadline that has passed."}
	checkValid   = contract{"Factory.Check", "Check, if not nil, validates a connection."}
	checkFails   = contract{"Factory.Check", "A connection for which it returns an error is closed."}
	probeAsks    = contract{"Factory.Probe", "Probe, if not nil, finds out whether the peer still answers on conn, by a round trip"}
	probeEnds    = contract{"Factory.Probe", "ctx ends after nine seconds, and when the pool is closed or reset."}
	cleanFails   = contract{"Factory.Clean", "A connection for which it returns an error is closed."}
	expiresLater = contract{"Factory.Expires", "A time that has passed, or will within a millisecond, makes the call of Open a failure"}
	peerKnown    = contract{"Factory.PeerClosed", "A server that accepts connections only to close them is then not dialed without a pause"}
)

// contracts are all of them, for the test that looks them up.
var contracts = []contract{anyGoroutine, noPanic, returns, holdsPut, opens, openEnds, openBeside, closes, closeOnce, closeInUse,
	checkLooks, checkValid, checkFails, probeAsks, probeEnds, cleanFails, expiresLater, peerKnown}

// String returns c with the place where it stands, for a failure.
func (c contract) String() string {
	text := strings.NewReplacer("[", "", "]", "").Replace(c.text)
	return "contract: " + text + "\n(" + c.where + ", https://pkg.go.dev/github.com/S4AK4N/pool#Factory)"
}
