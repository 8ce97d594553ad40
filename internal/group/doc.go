// Package group keeps a pool for each key: it finds it, has it made once, and removes it when it
// is not used any more. It knows the pools of internal/core by their Usage, and nothing of the
// types of connections: the shell of a pool is a parameter.
//
//	table.go   finds the member of a key without a lock
//	tender.go  which members are in use, and which for how long not
//	group.go   makes members, removes them, and remembers what they have counted
package group
