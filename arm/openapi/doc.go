// Package openapi describes the surface: as an OpenAPI 3.1 document, and as a page for people. Both are made once, of the table
// of routes and of the wire types that it names; no operation is known here by more than its row. What the table does not
// say stands in words.go, and the issuer's endpoints, whose bodies are forms, in signin.go.
package openapi
