module github.com/jackcache/jackcache

go 1.26

require (
	github.com/klauspost/compress v1.20.3
	github.com/nyaruka/phonenumbers v1.8.1
)

require (
	golang.org/x/text v0.23.0 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)
