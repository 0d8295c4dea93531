// Google's own in-memory Pub/Sub for tests. It prints where it serves gRPC and where it serves what tests ask of it:
//
//	PUT  /NAME   makes the topic projects/test/topics/NAME and the subscription projects/test/subscriptions/NAME
//	POST /NAME   publishes the body to it, with the header traceparent, if there is one, as an attribute
//	GET  /NAME   its messages, with how often each was delivered and acknowledged
//
// Topics are made here because the server speaks gRPC only, and the administrative half of the Rust client REST only.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	"cloud.google.com/go/pubsub/pstest"
	pb "google.golang.org/genproto/googleapis/pubsub/v1"
)

type message struct {
	ID         string
	Data       string
	Deliveries int
	Acks       int
}

func main() {
	pubsub := pstest.NewServer()
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Path[1:]
		topic := "projects/test/topics/" + name
		switch r.Method {
		case http.MethodPut:
			subscription := &pb.Subscription{Name: "projects/test/subscriptions/" + name, Topic: topic, AckDeadlineSeconds: 10}
			_, err := pubsub.GServer.CreateTopic(r.Context(), &pb.Topic{Name: topic})
			if err == nil {
				_, err = pubsub.GServer.CreateSubscription(r.Context(), subscription)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
			}
		case http.MethodPost:
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			attributes := map[string]string{"topic": name}
			if traceparent := r.Header.Get("traceparent"); traceparent != "" {
				attributes["traceparent"] = traceparent
			}
			fmt.Fprint(w, pubsub.Publish(topic, body, attributes))
		default:
			messages := []message{}
			for _, m := range pubsub.Messages() {
				if m.Attributes["topic"] == name {
					messages = append(messages, message{m.ID, string(m.Data), m.Deliveries, m.Acks})
				}
			}
			if err := json.NewEncoder(w).Encode(messages); err != nil {
				log.Print(err)
			}
		}
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("PUBSUB_EMULATOR_HOST=%s\nPUBSUB_CONTROL_URL=http://%s\n", pubsub.Addr, listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}
