package behaviour

import (
	"fmt"

	"github.com/S4AK4N/pool/bench/harness"
)

// A Question is asked of every pool that has the traits it needs.
type Question struct {
	Name    string
	Title   string
	Text    string // what is done, in the page
	Needs   []harness.Trait
	Answers []Answer // all there can be
	Details bool     // errors stand in the page

	ask func(*asking) (answer, detail string, err error)
}

// An Answer is one of a question's.
type Answer struct{ Key, Words string }

func (q Question) words(key string) string {
	for _, a := range q.Answers {
		if a.Key == key {
			return a.Words
		}
	}
	return ""
}

// Questions are all there are, in the order of the page.
var Questions = []Question{
	{
		Name: "close-waiter", Title: "A caller waits, and the pool is closed",
		Text:  "The only connection is leased, one caller waits for it, another one closes the pool. Then the holder puts the connection back.",
		Needs: []harness.Trait{harness.Waits},
		Answers: []Answer{
			{"at once", "told at once"},
			{"after the put", "told when the holder has put the connection back"},
			{"gives up", "told when Close has given up waiting for the holder"},
			{"served", "served, when the holder has put the connection back"},
			{"never", "waits on for ever, or until its own ctx ends"},
		},
		ask: closeWaiter,
	},
	{
		Name: "close-returns", Title: "Close, while a connection is leased",
		Text:  "The same, seen by the one who calls Close.",
		Needs: nil,
		Answers: []Answer{
			{"returns", "returns, though a connection is leased"},
			{"waits", "waits until it is back, however long that takes"},
			{"gives up", "waits until it is back, for 10 s at most"},
		},
		ask: closeReturns,
	},
	{
		Name: "close-lease", Title: "The connection that is leased while the pool is closed",
		Text: "Whether it is closed when Close has returned, or waits; and if not, when it has been put back.",
		Answers: []Answer{
			{"at once", "closed at once: its holder's next operation fails"},
			{"at the put", "works on, and is closed when it comes back"},
			{"never", "works on, and is still open when it has come back"},
		},
		ask: closeLease,
	},
	{
		Name: "after-close", Title: "A Get after Close",
		Text: "Nothing is leased or idle.",
		Answers: []Answer{
			{"refused", "returns an error"},
			{"lent", "lends a connection"},
			{"panics", "panics"},
			{"waits", "waits for ever"},
		},
		ask: afterClose,
	},
	{
		Name: "close-twice", Title: "A second Close",
		Text: "Nothing is leased or idle.",
		Answers: []Answer{
			{"nothing", "does nothing"},
			{"panics", "panics"},
			{"waits", "waits for ever"},
		},
		ask: closeTwice,
	},
	{
		Name: "close-open", Title: "The pool is closed while a connection is being opened",
		Text:  "One caller asks, and the pool dials for it. The pool is closed. Then the dial succeeds, if it has not been cancelled.",
		Needs: []harness.Trait{harness.Opens},
		Answers: []Answer{
			{"cancelled", "the caller is told at once, and the dial is cancelled"},
			{"at once", "the caller is told at once, and what the dial brings is closed"},
			{"late", "the caller is told when the dial has succeeded, and what it brings is closed"},
			{"lent", "the caller gets the connection, which is closed when it comes back"},
			{"kept", "the caller gets the connection, which is still open when it has come back"},
			{"leaks", "the caller is told, and what the dial brings stays open"},
		},
		ask: closeOpen,
	},
	{
		Name: "wait-limit", Title: "A wait whose ctx has no deadline, by default",
		Text:  "The only connection is leased for 40 s, and one caller waits for it. The limit of the pool is 5 s. go-redis waits for 6 s, four times, since it tries a command again that has got no connection.",
		Needs: []harness.Trait{harness.Waits},
		Answers: []Answer{
			{"ends", "ends with an error"},
			{"goes on", "goes on"},
		},
		ask: waitLimit,
	},
	{
		Name: "open-error", Title: "The error of a Get for which no connection could be opened",
		Text:  "The dial fails, each time.",
		Needs: []harness.Trait{harness.Opens},
		Answers: []Answer{
			{"is", "errors.Is finds the error of the dial in it"},
			{"reads", "it says what the error of the dial says, and errors.Is does not find that"},
			{"hides", "it says nothing of the error of the dial"},
			{"waits", "there is none: the Get waits on"},
		},
		ask: openError,
	},
	{
		Name: "open-hangs", Title: "A connection comes back while the one that a caller opens hangs",
		Text:  "Of two connections one is leased. A second caller asks, the pool dials for it, and the dial hangs. Then the first connection is put back.",
		Needs: []harness.Trait{harness.Opens},
		Answers: []Answer{
			{"takes", "the caller gets the one that has come back"},
			{"waits", "the caller waits on for its own, beside an idle one"},
			{"put waits", "the caller waits on, and so does the Put"},
		},
		ask: openHangs,
	},
	{
		Name: "open-ctx", Title: "A caller gives up while its connection is being opened",
		Text:  "The pool dials for a caller, whose ctx is cancelled meanwhile. Then the dial succeeds, if it has not been cancelled as well. Another caller asks.",
		Needs: []harness.Trait{harness.Opens, harness.Ctx},
		Answers: []Answer{
			{"kept", "the caller returns at once, and the next one gets the connection of its dial"},
			{"cancelled", "the caller returns at once, its dial is cancelled, and the next one dials again"},
			{"dropped", "the caller returns at once, and the connection of its dial is thrown away"},
			{"held", "the caller returns when the dial does"},
		},
		ask: openCtx,
	},
	{
		Name: "open-fails", Title: "Two callers wait, the only connection breaks, and the next dial fails",
		Text:  "Its holder says that it is dead. The first dial after that fails, further ones would succeed.",
		Needs: []harness.Trait{harness.Opens, harness.Waits, harness.Discard},
		Answers: []Answer{
			{"both served", "both are served: another dial is made"},
			{"one told", "one gets the error, and another dial is made for the other"},
			{"both told", "both get the error"},
			{"one waits", "one gets the error, and the other waits on, though nothing is open and nobody dials"},
			{"both wait", "both wait on, though nothing is open and nobody dials"},
		},
		ask: openFails,
	},
	{
		Name: "breaks", Title: "A caller waits, and the only connection breaks",
		Text:  "Its holder says that it is dead. A dial would succeed.",
		Needs: []harness.Trait{harness.Opens, harness.Waits, harness.Discard},
		Answers: []Answer{
			{"served", "it is served with a new one"},
			{"waits", "it waits on, though nothing is open and nobody dials"},
		},
		ask: breaks,
	},
	{
		Name: "open-panics", Title: "The function that opens a connection panics",
		Text:  "Once, called for a Get of a pool of one. Then another caller asks.",
		Needs: []harness.Trait{harness.Opens, harness.Waits},
		Answers: []Answer{
			{"error", "the caller gets an error, and the next one a connection"},
			{"panics", "the caller panics, and the next one gets a connection"},
			{"lost", "the caller panics, and the next one waits for ever: the place is lost"},
			{"ends", "the process ends: the panic is in a goroutine of the pool"},
		},
		ask: openPanics,
	},
	{
		Name: "lifetime-idle", Title: "A connection has reached its lifetime while it was idle",
		Text:  "The lifetime is 0.2 s. The connection is idle for a second, then somebody asks.",
		Needs: []harness.Trait{harness.Ages},
		Answers: []Answer{
			{"replaced", "a new one is lent"},
			{"lent", "the old one is lent"},
		},
		ask: lifetimeIdle,
	},
	{
		Name: "lifetime-put", Title: "A connection has reached its lifetime while it was leased",
		Text:  "The lifetime is 0.2 s. The connection is leased for a second and put back; nobody asks.",
		Needs: []harness.Trait{harness.Ages},
		Answers: []Answer{
			{"closed", "it is closed"},
			{"reopened", "it is closed, and another one opened, though nobody asks"},
			{"kept", "it stays open until somebody asks"},
		},
		ask: lifetimePut,
	},
	{
		Name: "idle", Title: "The idle time of a connection is over, and nobody asks",
		Text:  "The limit is 0.3 s. One connection is put back, and then nothing happens for 3 s. Where a pool looks now and then and can be told how often, that is 0.2 s.",
		Needs: []harness.Trait{harness.Idles},
		Answers: []Answer{
			{"closed", "it is closed"},
			{"reopened", "it is closed, and another one opened, again and again"},
			{"kept", "it stays open until somebody asks"},
		},
		ask: idleTime,
	},
	{
		Name: "idle-order", Title: "Three connections are idle, and one is needed at a time",
		Text:  "One goroutine puts three connections back, then gets and puts one 30 times.",
		Needs: []harness.Trait{harness.Keeps},
		Answers: []Answer{
			{"one", "the same one is lent each time: what a burst has opened is idle, and can be closed for it"},
			{"all", "all are lent in turn: no idle time ends while there is some load"},
			{"two", "two of them are lent"},
		},
		ask: idleOrder,
	},
	{
		Name: "cancel-error", Title: "The error of a wait that is cancelled",
		Text:  "The only connection is leased, a caller waits, and its ctx is cancelled.",
		Needs: []harness.Trait{harness.Waits, harness.Ctx},
		Answers: []Answer{
			{"ctx", "errors.Is says that it is context.Canceled"},
			{"other", "another one"},
		},
		Details: true,
		ask:     cancelError,
	},
	{
		Name: "ended", Title: "A Get whose ctx has ended before, while a connection is idle",
		Text:  "Tried 64 times.",
		Needs: []harness.Trait{harness.Ctx},
		Answers: []Answer{
			{"refused", "refused"},
			{"lent", "given the connection"},
			{"lot", "one or the other, by lot"},
		},
		ask: endedCtx,
	},
	{
		Name: "order", Title: "Who is served first of those who wait",
		Text:  "One connection is leased. 16 callers come for it one after the other, each when the one before has been seen waiting.",
		Needs: []harness.Trait{harness.Waits},
		Answers: []Answer{
			{"fifo", "who came first"},
			{"lot", "others may come first"},
		},
		ask: order,
	},
	{
		Name: "returner", Title: "Whether the one who puts back gets it again before the one who waits",
		Text:  "One caller waits. The holder puts the connection back and asks again at once, up to 1,000 times; 20 tries.",
		Needs: []harness.Trait{harness.Waits},
		Answers: []Answer{
			{"never", "no"},
			{"again and again", "yes, while the one who waits is on its way"},
		},
		ask: returner,
	},
	{
		Name: "second-put", Title: "A lease is put back twice, and somebody else has the connection by then",
		Text:  "A pool of one. The connection is put back and lent to a second caller, then the first one puts it back once more. A third caller asks.",
		Needs: []harness.Trait{harness.Waits},
		Answers: []Answer{
			{"refused", "the second Put returns an error, and the third caller waits"},
			{"ignored", "nothing happens, and the third caller waits"},
			{"panics", "the second Put panics, and the third caller waits"},
			{"two", "the third caller gets the connection while the second one has it"},
			{"more", "the third caller gets another connection: more than the limit are open"},
		},
		ask: secondPut,
	},
}

// Find returns the question of that name.
func Find(name string) (Question, error) {
	for _, q := range Questions {
		if q.Name == name {
			return q, nil
		}
	}
	return Question{}, fmt.Errorf("there is no question %q", name)
}
