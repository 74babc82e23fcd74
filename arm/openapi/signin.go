package openapi

import (
	"net/http"
	"strings"
)

// signInEndpoint is one of the issuer's, for the document alone: what they take are forms, and what they give is OAuth's.
type signInEndpoint struct {
	method, path, id, about string
	form                    []formField
	gives                   *schema
	redirects               bool
}

type formField struct {
	name, about string
	required    bool
}

func members(names ...string) *schema {
	o := &schema{Type: "object", Properties: map[string]*schema{}, order: names}
	for _, n := range names {
		o.Properties[n] = text("")
		if strings.HasSuffix(n, "_in") || n == "interval" {
			o.Properties[n] = &schema{Type: "integer"}
		}
	}
	return o
}

var clientFields = []formField{
	{"client_id", "The program: a service principal's id or name, or a client that everybody knows.", true},
	{"client_secret", "Its secret.", false},
	{"client_assertion", "In the place of a secret: a JWT signed with its certificate's key.", false},
	{"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", false},
}

var signInError = func() *schema {
	o := members("error", "error_description", "timestamp", "trace_id", "correlation_id")
	o.Properties["error_codes"] = &schema{Type: "array", Items: &schema{Type: "integer"}}
	o.Required = []string{"error"}
	return o
}()

// signInEndpoints are the issuer's endpoints, of a tenant or of adfs.
var signInEndpoints = []signInEndpoint{
	{method: http.MethodGet, path: "/{tenant}/v2.0/.well-known/openid-configuration", id: "SignIn_Discovery", about: "Says where everything is (OpenID Connect Discovery)",
		gives: members("issuer", "authorization_endpoint", "token_endpoint", "device_authorization_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint", "revocation_endpoint")},
	{method: http.MethodGet, path: "/{tenant}/discovery/v2.0/keys", id: "SignIn_Keys", about: "Gives the keys that tokens are signed with (JWKS)",
		gives: &schema{Type: "object", Properties: map[string]*schema{"keys": {Type: "array", Items: &schema{Type: "object"}}}, order: []string{"keys"}}},
	{method: http.MethodPost, path: "/{tenant}/oauth2/v2.0/token", id: "SignIn_Token", about: "Gives tokens for a secret, a certificate, a code, a device code or a refresh token",
		form: append([]formField{
			{"grant_type", "client_credentials, authorization_code, refresh_token or urn:ietf:params:oauth:grant-type:device_code; password where it is configured.", true},
			{"scope", "What the token is for: the plane's address with /.default; openid, profile and offline_access besides.", false},
			{"code", "The code of authorize.", false}, {"redirect_uri", "As it was given to authorize.", false}, {"code_verifier", "What the challenge was made of (PKCE).", false},
			{"device_code", "Of devicecode.", false}, {"refresh_token", "Good once; its successor comes with the answer.", false},
		}, clientFields...),
		gives: members("token_type", "access_token", "expires_in", "ext_expires_in", "refresh_token", "id_token", "scope", "client_info")},
	{method: http.MethodPost, path: "/{tenant}/oauth2/v2.0/devicecode", id: "SignIn_DeviceCode", about: "Begins a sign-in that a person completes in a browser elsewhere",
		form: []formField{{"client_id", "The program.", true}, {"scope", "As at token.", false}}, gives: members("user_code", "device_code", "verification_uri", "expires_in", "interval", "message")},
	{method: http.MethodGet, path: "/{tenant}/oauth2/v2.0/authorize", id: "SignIn_Authorize", about: "Signs a person in in their browser, and sends them back with a code", redirects: true,
		form: []formField{
			{"client_id", "The program.", true}, {"response_type", "code", true}, {"redirect_uri", "Where to; loopback addresses with any port.", true}, {"scope", "As at token.", true},
			{"state", "Comes back as it is.", false}, {"code_challenge", "Of PKCE, without which nothing is given.", true}, {"code_challenge_method", "S256", true}, {"nonce", "Comes back in the id_token.", false},
			{"prompt", "login, none, consent or select_account.", false}, {"response_mode", "query or form_post.", false},
		}},
	{method: http.MethodPost, path: "/{tenant}/oauth2/v2.0/revoke", id: "SignIn_Revoke", about: "Revokes a token and, if it is a refresh token, all that came of it", form: append([]formField{{"token", "The token.", true}}, clientFields...)},
	{method: http.MethodGet, path: "/{tenant}/oauth2/v2.0/logout", id: "SignIn_Logout", about: "Signs a browser out", redirects: true,
		form: []formField{{"post_logout_redirect_uri", "Where to go then.", false}, {"id_token_hint", "Who is meant.", false}, {"state", "Comes back as it is.", false}}},
	{method: http.MethodGet, path: "/{tenant}/openid/userinfo", id: "SignIn_UserInfo", about: "Says who a token with openid is for", gives: members("sub", "name", "preferred_username", "email")},
}

func (e signInEndpoint) operator() *operator {
	o := &operator{
		method: e.method, path: e.path, ID: e.id, Tags: []string{"Signing in"}, Summary: e.about, Security: &[]map[string][]string{},
		Responses:  map[string]*docResponse{"default": {Ref: "#/components/responses/SignInError"}},
		Parameters: []docParameter{{Name: "tenant", In: "path", Required: true, Description: pathWords["tenant"].about, Schema: text("")}},
	}
	if e.id == "SignIn_UserInfo" {
		o.Security = nil
	}
	well := &docResponse{Description: "OK"}
	if e.gives != nil {
		well.Content = jsonContent(e.gives)
	}
	o.Responses["200"] = well
	if e.redirects {
		o.Responses["200"] = &docResponse{Description: "A page for a person.", Content: map[string]docContent{"text/html": {&schema{Type: "string"}}}}
		o.Responses["302"] = &docResponse{Description: "Back to the client."}
	}
	if e.method == http.MethodGet {
		for _, f := range e.form {
			o.Parameters = append(o.Parameters, docParameter{Name: f.name, In: "query", Required: f.required, Description: f.about, Schema: text("")})
		}
		return o
	}
	body := &schema{Type: "object", Properties: map[string]*schema{}}
	for _, f := range e.form {
		body.Properties[f.name] = text(f.about)
		body.order = append(body.order, f.name)
		if f.required {
			body.Required = append(body.Required, f.name)
		}
	}
	o.Body = &docBody{Required: true, Content: map[string]docContent{"application/x-www-form-urlencoded": {body}}}
	return o
}

// securitySchemes are the ways to come with a token.
func (s *describer) securitySchemes(base string) map[string]map[string]any {
	tenant := s.Tenant.ID
	if tenant == "" {
		tenant = "common"
	}
	at := base + "/" + tenant + "/oauth2/v2.0"
	scopes := map[string]string{base + "/.default": "Whatever the caller's roles allow."}
	return map[string]map[string]any{
		"bearer": {"type": "http", "scheme": "bearer", "description": "A token of POST /ajar/v1/login or /ajar/v1/tokens, or an access token of the issuer."},
		"oauth2": {"type": "oauth2", "description": "The plane's own issuer; device codes besides (" + at + "/devicecode).", "flows": map[string]any{
			"clientCredentials": map[string]any{"tokenUrl": at + "/token", "refreshUrl": at + "/token", "scopes": scopes},
			"authorizationCode": map[string]any{"authorizationUrl": at + "/authorize", "tokenUrl": at + "/token", "refreshUrl": at + "/token", "scopes": scopes},
		}},
	}
}
