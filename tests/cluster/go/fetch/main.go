// Command fetch prints what a URL answers. Debian's static busybox has a wget,
// but it crashes in an image without the C library it was linked against.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := fetch(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func fetch() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: fetch URL")
	}
	client := http.Client{Timeout: 2 * time.Second}
	answer, err := client.Get(os.Args[1])
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", os.Args[1], answer.Status)
	}
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}
