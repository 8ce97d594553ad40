package behaviour

// Asked are the pools that are asked, in the order of the page: those that somebody publishes as
// pools, and the one of this repository first.
var Asked = []string{"pool", "puddle", "pgxpool", "database/sql", "go-commons-pool", "silenceper", "fatih",
	"netpool", "netpool Basic", "redigo", "go-redis", "vitess"}

// guesses are what was expected of each, written down before it was asked for the first time, with
// the sources not looked at for it. They are not corrected. Of those that an earlier run of the benchmarks had
// shown already, the guess is the one that was written down before that. The order is that of
// Asked; a minus stands where a pool lacks what the question needs.
var guesses = map[string][]string{
	//                pool           puddle         pgxpool        database/sql  commons      silenceper   fatih         netpool      Basic        redigo       go-redis       vitess
	"close-waiter":  {"at once", "after the put", "after the put", "at once", "at once", "never", "-", "at once", "at once", "at once", "at once", "at once"},
	"close-returns": {"returns", "waits", "waits", "returns", "returns", "returns", "returns", "returns", "returns", "returns", "returns", "waits"},
	"close-lease":   {"at once", "at the put", "at the put", "at the put", "at the put", "at the put", "at the put", "at the put", "at the put", "at the put", "at once", "at the put"},
	"after-close":   {"refused", "refused", "refused", "refused", "refused", "refused", "refused", "refused", "refused", "refused", "refused", "refused"},
	"close-twice":   {"nothing", "nothing", "nothing", "nothing", "nothing", "nothing", "nothing", "nothing", "nothing", "nothing", "nothing", "nothing"},
	"close-open":    {"cancelled", "cancelled", "cancelled", "lent", "lent", "kept", "lent", "lent", "lent", "lent", "cancelled", "lent"},
	"wait-limit":    {"ends", "goes on", "goes on", "goes on", "goes on", "goes on", "-", "goes on", "goes on", "goes on", "ends", "goes on"},
	"open-error":    {"is", "is", "is", "is", "is", "is", "is", "is", "is", "is", "is", "is"},
	"open-hangs":    {"takes", "waits", "waits", "waits", "waits", "put waits", "waits", "waits", "waits", "waits", "waits", "waits"},
	"open-ctx":      {"kept", "kept", "kept", "cancelled", "cancelled", "-", "-", "cancelled", "cancelled", "cancelled", "kept", "cancelled"},
	"open-fails":    {"both served", "one told", "one told", "one told", "both wait", "both wait", "-", "one told", "one told", "one told", "both served", "both wait"},
	"breaks":        {"served", "served", "served", "served", "served", "waits", "-", "served", "served", "served", "served", "served"},
	"open-panics":   {"error", "ends", "ends", "lost", "lost", "panics", "-", "lost", "lost", "lost", "ends", "lost"},
	"lifetime-idle": {"replaced", "-", "replaced", "replaced", "-", "-", "-", "-", "-", "replaced", "replaced", "lent"},
	"lifetime-put":  {"closed", "-", "closed", "closed", "-", "-", "-", "-", "-", "kept", "kept", "reopened"},
	"idle":          {"closed", "-", "closed", "closed", "closed", "kept", "-", "closed", "-", "kept", "kept", "reopened"},
	"idle-order":    {"one", "one", "one", "one", "one", "all", "all", "one", "all", "one", "one", "one"},
	"cancel-error":  {"ctx", "ctx", "ctx", "ctx", "other", "-", "-", "ctx", "ctx", "ctx", "ctx", "other"},
	"ended":         {"refused", "refused", "refused", "refused", "lent", "-", "-", "refused", "refused", "refused", "refused", "refused"},
	"order":         {"fifo", "fifo", "fifo", "lot", "fifo", "fifo", "-", "fifo", "fifo", "fifo", "fifo", "fifo"},
	"returner":      {"never", "never", "never", "never", "again and again", "never", "-", "never", "never", "never", "never", "never"},
	"second-put":    {"refused", "two", "ignored", "refused", "two", "two", "-", "two", "two", "ignored", "ignored", "two"},
}
