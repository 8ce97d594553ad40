// Package pool lends connections.
package pool
