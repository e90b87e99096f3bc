// Puts every object of a list and gets it back, with net/http.
package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
)

type object struct {
	Key  string `json:"key"`
	Body string `json:"body"`
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func ask(method, target string, body []byte) (int, []byte) {
	request, err := http.NewRequest(method, target, bytes.NewReader(body))
	must(err)
	if method == "PUT" && len(body) == 0 {
		// For a reader of no bytes the length would be left out.
		request.Body = http.NoBody
	}
	response, err := http.DefaultClient.Do(request)
	must(err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	must(err)
	return response.StatusCode, answer
}

func main() {
	text, err := os.ReadFile(os.Args[2])
	must(err)
	var objects []object
	must(json.Unmarshal(text, &objects))
	base, err := url.Parse(os.Args[1])
	must(err)
	for _, object := range objects {
		body, err := hex.DecodeString(object.Body)
		must(err)
		target := (&url.URL{Scheme: base.Scheme, Host: base.Host, Path: "/" + object.Key}).String()
		status, answer := ask("PUT", target, body)
		if (status != 200 && status != 201) || string(answer) != object.Key {
			must(fmt.Errorf("PUT %q: %d %q", object.Key, status, answer))
		}
		status, answer = ask("GET", target, nil)
		if status != 200 || !bytes.Equal(answer, body) {
			must(fmt.Errorf("GET %q: %d, %d bytes", object.Key, status, len(answer)))
		}
		if status, _ = ask("DELETE", target, nil); status != 204 {
			must(fmt.Errorf("DELETE %q: %d", object.Key, status))
		}
	}
	fmt.Printf("%d objects\n", len(objects))
}
