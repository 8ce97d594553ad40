// Package group keeps a pool for each key: it finds it, has it made once, and removes it when it
// is not used any more. It knows the pools of internal/core by their Usage, and nothing of the
// types of connections: the shell of a pool is a parameter.
//
//	table.go    finds the member of a key without a lock
//	tender.go   which members are in use, and which for how long not
//	group.go    a caller finds the member of its key, or has it made
//	opening.go  a member is made, once for all who ask
//	remove.go   a member is removed, because of its age, its place, or its user
//	close.go    all are
//	sum.go      what all have counted, those that are gone included
package group
