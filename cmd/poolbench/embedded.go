package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// An embedded is the client's side of the embedded server.
type embedded struct {
	addresses []string
	command   *exec.Cmd
	questions io.WriteCloser
	answers   chan []byte   // closed when the server is gone
	gone      chan struct{} // closed when the server is gone
}

// answerTimeout is how long the server may take for an answer, with all clients
// at work.
const answerTimeout = 10 * time.Second

var errServerGone = errors.New("the embedded server has ended")

// startEmbedded starts the server in a process of its own. close ends it.
func startEmbedded(rtt time.Duration) (*embedded, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	e := &embedded{
		command: exec.Command(program),
		answers: make(chan []byte, 1),
		gone:    make(chan struct{}),
	}
	e.command.Env = append(os.Environ(), serverVariable+"="+rtt.String())
	e.command.Stderr = os.Stderr
	if e.questions, err = e.command.StdinPipe(); err != nil {
		return nil, err
	}
	answers, err := e.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := e.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(e.gone)
		defer close(e.answers)
		for lines := bufio.NewScanner(answers); lines.Scan(); {
			e.answers <- append([]byte(nil), lines.Bytes()...)
		}
	}()
	var hello serverHello
	if err := e.answer(&hello); err != nil {
		e.close()
		return nil, err
	}
	if len(hello.Addresses) == 0 {
		e.close()
		return nil, errors.New("it listens nowhere")
	}
	e.addresses = hello.Addresses
	return e, nil
}

// reset makes the server forget its peak.
func (e *embedded) reset() (serverCounts, error) { return e.ask("reset") }

// counts returns what the server knows of its connections.
func (e *embedded) counts() (serverCounts, error) { return e.ask("counts") }

func (e *embedded) ask(question string) (counts serverCounts, err error) {
	if _, err := fmt.Fprintln(e.questions, question); err != nil {
		return counts, errServerGone
	}
	err = e.answer(&counts)
	return counts, err
}

// answer reads the next line of the server into v.
func (e *embedded) answer(v any) error {
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	select {
	case line, ok := <-e.answers:
		if !ok {
			return errServerGone
		}
		return json.Unmarshal(line, v)
	case <-timer.C:
		return fmt.Errorf("the embedded server did not answer within %v", answerTimeout)
	}
}

// close ends the server and waits until it is gone.
func (e *embedded) close() {
	e.questions.Close()
	select {
	case <-e.gone:
	case <-time.After(answerTimeout):
		e.command.Process.Kill()
		<-e.gone
	}
	e.command.Wait()
}
