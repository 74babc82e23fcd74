package issuer

import (
	"net/http"
	"net/url"
	"strings"
)

// metadata is what a client learns of an issuer (OpenID Connect Discovery 1.0, RFC 8414).
type metadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	DeviceEndpoint        string   `json:"device_authorization_endpoint"`
	JWKS                  string   `json:"jwks_uri"`
	Userinfo              string   `json:"userinfo_endpoint"`
	EndSession            string   `json:"end_session_endpoint"`
	Revocation            string   `json:"revocation_endpoint"`
	ResponseTypes         []string `json:"response_types_supported"`
	ResponseModes         []string `json:"response_modes_supported"`
	GrantTypes            []string `json:"grant_types_supported"`
	SubjectTypes          []string `json:"subject_types_supported"`
	IDTokenAlgs           []string `json:"id_token_signing_alg_values_supported"`
	Scopes                []string `json:"scopes_supported"`
	Claims                []string `json:"claims_supported"`
	Challenges            []string `json:"code_challenge_methods_supported"`
	AuthMethods           []string `json:"token_endpoint_auth_methods_supported"`
	AuthAlgs              []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	IssInResponse         bool     `json:"authorization_response_iss_parameter_supported"`
	ClaimsParameter       bool     `json:"claims_parameter_supported"`
	RequestParameter      bool     `json:"request_parameter_supported"`
	RequestURIParameter   bool     `json:"request_uri_parameter_supported"`
	CloudInstance         string   `json:"cloud_instance_name"`
	TenantRegion          *string  `json:"tenant_region_scope"`
}

// discovery says where everything is. It is the same for everybody.
func (s *Server) discovery(w http.ResponseWriter, _ *http.Request, f form) {
	m := metadata{
		Issuer:                f.issuer,
		AuthorizationEndpoint: f.base + "/oauth2/v2.0/authorize",
		TokenEndpoint:         f.tokenEndpoint(),
		DeviceEndpoint:        f.base + "/oauth2/v2.0/devicecode",
		JWKS:                  f.base + "/discovery/v2.0/keys",
		Userinfo:              f.userinfo(),
		EndSession:            f.base + "/oauth2/v2.0/logout",
		Revocation:            f.base + "/oauth2/v2.0/revoke",
		ResponseTypes:         []string{"code"},
		ResponseModes:         []string{"query", "form_post"},
		GrantTypes:            []string{grantClient, grantCode, grantRefresh, grantDevice},
		SubjectTypes:          []string{"public"},
		IDTokenAlgs:           []string{"ES256"},
		Scopes:                []string{"openid", "profile", "email", "offline_access"},
		Claims: []string{"iss", "aud", "sub", "oid", "tid", "exp", "iat", "nbf", "auth_time", "amr", "nonce", "name",
			"preferred_username", "upn", "email"},
		Challenges:    []string{"S256"},
		AuthMethods:   []string{"client_secret_post", "client_secret_basic", "private_key_jwt", "none"},
		AuthAlgs:      []string{"RS256", "PS256", "ES256"},
		IssInResponse: true,
		CloudInstance: s.host(),
	}
	if s.Password {
		m.GrantTypes = append(m.GrantTypes, grantPassword)
	}
	w.Header().Set("Cache-Control", "max-age=3600")
	w.Header().Set("Access-Control-Allow-Origin", "*")
	reply(w, http.StatusOK, m)
}

func (f form) tokenEndpoint() string { return f.base + "/oauth2/v2.0/token" }

// userinfo is an endpoint, and the audience of tokens that are good there alone.
func (f form) userinfo() string { return f.base + "/openid/userinfo" }

func (s *Server) host() string {
	u, err := url.Parse(s.PublicURL)
	if err != nil {
		return s.PublicURL
	}
	return u.Host
}

// jwks gives the keys to check signatures with.
func (s *Server) jwks(w http.ResponseWriter, r *http.Request, _ form) {
	set, err := s.Auth.Tokens.Keys.Public(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "max-age=600")
	w.Header().Set("Access-Control-Allow-Origin", "*")
	reply(w, http.StatusOK, set)
}

// instance answers what libraries ask before they trust an authority: this one vouches for itself alone.
func (s *Server) instance(w http.ResponseWriter, _ *http.Request, f form) {
	wellKnown := f.issuer + "/.well-known/openid-configuration"
	reply(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": wellKnown,
		"api-version":               "1.1",
		"metadata": []map[string]any{
			{"preferred_network": s.host(), "preferred_cache": s.host(), "aliases": []string{s.host()}},
		},
	})
}

// trustedRealm is the relation that .NET's library looks for.
const trustedRealm = "http://schemas.microsoft.com/rel/trusted-realm"

// webfinger answers what .NET's library, and so PowerShell, asks before it trusts an authority that looks like ADFS: whether
// that host is one of this realm's. It asks at port 443.
func (s *Server) webfinger(w http.ResponseWriter, r *http.Request, _ form) {
	resource := r.URL.Query().Get("resource")
	asked, err := url.Parse(resource)
	own, _ := url.Parse(s.PublicURL) //nolint:errcheck // it was read at the start
	if err != nil || own == nil || asked.Scheme != "https" || !strings.EqualFold(asked.Hostname(), own.Hostname()) {
		s.fail(w, r, fault(http.StatusNotFound, "invalid_request", 900144, "nothing is known here of %.200q", resource))
		return
	}
	reply(w, http.StatusOK, map[string]any{"subject": resource, "links": []map[string]string{{"rel": trustedRealm, "href": resource}}})
}

// realm answers what libraries ask before they send a password: every name is at home here, whether or not it exists.
func (s *Server) realm(w http.ResponseWriter) {
	reply(w, http.StatusOK, map[string]string{
		"ver": "1.0", "account_type": "Managed", "domain_name": s.Tenant.Domain, "cloud_instance_name": s.host(),
		"cloud_audience_urn": "urn:federation:" + s.host(),
	})
}
