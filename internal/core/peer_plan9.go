package core

var resets []error // this system has no codes for the end of a connection
