package main

import "testing"

// A change of the code may take a fault's place away, and should hear of it at once.
func TestEveryFaultHasItsPlace(t *testing.T) {
	t.Chdir("../../..")
	if _, err := write(t.TempDir()); err != nil {
		t.Error(err)
	}
}
