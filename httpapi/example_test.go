package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/httpapi"
)

func ExampleNew() {
	dir, err := os.MkdirTemp("", "jackcache")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	a, err := assistant.Open(context.Background(), jackcache.Options{DataDir: dir}, assistant.TTLs{})
	if err != nil {
		panic(err)
	}
	defer a.Close(context.Background())

	mux := http.NewServeMux()
	mux.Handle("/cache/", http.StripPrefix("/cache", httpapi.New(a, httpapi.Options{})))
	server := httptest.NewServer(mux)
	defer server.Close()

	messages := server.URL + "/cache/api/v1/orgs/org-123/conversations/604-908-5474/messages"
	res, err := http.Post(messages, "application/json", strings.NewReader(`{"id":"SM1","role":"user","content":"hi"}`))
	if err != nil {
		panic(err)
	}
	res.Body.Close()
	fmt.Println(res.Status)

	if res, err = http.Get(messages + "?last=20"); err != nil {
		panic(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	fmt.Printf("%s", body)
	// Output:
	// 201 Created
	// {"messages":[{"id":"SM1","role":"user","content":"hi"}],"complete":true,"count":1}
}
