package places

import (
	"context"
	"net"
	"net/url"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
)

func (s room) metadataRoutes() []rest.Route {
	return []rest.Route{
		rest.Get("/metadata/endpoints", rest.Open, rest.Op(200, s.metadata), "Tells clients where to sign in, in the dialect of the api-version that they ask for.", "").Gives(cloud{}, []cloud{}, flatCloud{}),
	}
}

// The first api-versions of the dialects that are not flat.
const (
	metadataList   = "2019-05-01"
	metadataObject = "2022-09-01"
)

// flatCloud is the oldest dialect, which Azure CLI (up to 2.53) and Add-AzEnvironment -ARMEndpoint read. Both take a
// login endpoint that is not Microsoft's only if it ends in /adfs.
type flatCloud struct {
	Gallery        string    `json:"galleryEndpoint"`
	Graph          string    `json:"graphEndpoint"`
	Portal         string    `json:"portalEndpoint"`
	GraphAudience  string    `json:"graphAudience"`
	MicrosoftGraph string    `json:"microsoftGraphResourceId"`
	Authentication cloudAuth `json:"authentication"`
}

type cloudAuth struct {
	LoginEndpoint    string   `json:"loginEndpoint"`
	Audiences        []string `json:"audiences"`
	Tenant           string   `json:"tenant"`
	IdentityProvider string   `json:"identityProvider"`
}

// cloud is one cloud of the list, and the whole of the newest dialect. Clients do not start without some of the members
// for services that are not here; what they are given lies below the plane's own name and is nowhere.
type cloud struct {
	Portal              string            `json:"portal"`
	Authentication      cloudAuth         `json:"authentication"`
	Media               string            `json:"media"`
	GraphAudience       string            `json:"graphAudience"`
	Graph               string            `json:"graph"`
	Name                string            `json:"name"`
	Suffixes            map[string]string `json:"suffixes"`
	Batch               string            `json:"batch"`
	ResourceManager     string            `json:"resourceManager"`
	DataLake            string            `json:"activeDirectoryDataLake"`
	SQLManagement       string            `json:"sqlManagement"`
	MicrosoftGraph      string            `json:"microsoftGraphResourceId"`
	AppInsights         string            `json:"appInsightsResourceId"`
	AppInsightsChannel  string            `json:"appInsightsTelemetryChannelResourceId"`
	Attestation         string            `json:"attestationResourceId"`
	Synapse             string            `json:"synapseAnalyticsResourceId"`
	LogAnalytics        string            `json:"logAnalyticsResourceId"`
	OpenSourceDatabases string            `json:"ossrDbmsResourceId"`
	Gallery             string            `json:"gallery"`
}

// suffixes are the members that clients look for, and where below the plane's name each points.
var suffixes = map[string]string{
	"azureDataLakeStoreFileSystem":        "datalakestore",
	"acrLoginServer":                      "registry",
	"sqlServerHostname":                   "database",
	"azureDataLakeAnalyticsCatalogAndJob": "datalakeanalytics",
	"keyVaultDns":                         "vault",
	"storage":                             "storage",
	"azureFrontDoorEndpointSuffix":        "frontdoor",
	"storageSyncEndpointSuffix":           "storagesync",
	"mhsmDns":                             "managedhsm",
	"mysqlServerEndpoint":                 "mysql",
	"postgresqlServerEndpoint":            "postgres",
	"mariadbServerEndpoint":               "mariadb",
	"synapseAnalytics":                    "synapse",
	"attestationEndpoint":                 "attest",
}

func (s room) metadata(_ context.Context, c *rest.Call, _ rest.Nothing) (any, error) {
	version := c.Param("api-version")
	if version != "1.0" {
		if err := rest.CheckVersion(c.Query); err != nil {
			return nil, err
		}
	}
	base := s.Base(c)
	adfs := cloudAuth{LoginEndpoint: base + "/adfs", Audiences: []string{base + "/"}, Tenant: "adfs", IdentityProvider: "ADFS"}
	switch {
	case version == "1.0" || version < metadataList:
		return flatCloud{
			Gallery: base + "/", Graph: base + "/", Portal: base + "/", GraphAudience: base + "/", MicrosoftGraph: base + "/", Authentication: adfs,
		}, nil
	case version < metadataObject:
		return []cloud{newCloud(base, adfs)}, nil
	}
	return newCloud(base, cloudAuth{LoginEndpoint: base, Audiences: []string{base + "/"}, Tenant: "common", IdentityProvider: "AAD"}), nil
}

func newCloud(base string, auth cloudAuth) cloud {
	host := "localhost"
	if u, err := url.Parse(base); err == nil && u.Hostname() != "" && net.ParseIP(u.Hostname()) == nil {
		host = strings.ToLower(u.Hostname())
	}
	at := func(service string) string { return "https://" + service + "." + host }
	c := cloud{
		Portal: base, Authentication: auth, Media: at("media"), GraphAudience: base + "/", Graph: base + "/", Name: "Ajar",
		Suffixes: make(map[string]string, len(suffixes)), Batch: at("batch"), ResourceManager: base + "/", DataLake: at("datalake"),
		SQLManagement: at("sqlmanagement"), MicrosoftGraph: base + "/", AppInsights: at("applicationinsights"),
		AppInsightsChannel: at("applicationinsights") + "/v2/track", Attestation: at("attest"), Synapse: at("synapse"),
		LogAnalytics: at("loganalytics"), OpenSourceDatabases: at("ossrdbms"), Gallery: base + "/",
	}
	for member, service := range suffixes {
		c.Suffixes[member] = service + "." + host
	}
	return c
}

func (s room) tenantRoutes() []rest.Route {
	return []rest.Route{
		rest.Get("/tenants", rest.Beside, rest.Op(200, s.listTenants), "Lists the one tenant there is.", ""),
	}
}

type tenantBody struct {
	ID            string   `json:"id"`
	TenantID      string   `json:"tenantId"`
	DisplayName   string   `json:"displayName"`
	DefaultDomain string   `json:"defaultDomain,omitempty"`
	Domains       []string `json:"domains"`
	Category      string   `json:"tenantCategory"`
	Type          string   `json:"tenantType"`
}

func (s room) listTenants(_ context.Context, _ *rest.Call, _ rest.Nothing) (rest.List[tenantBody], error) {
	return rest.List[tenantBody]{Value: []tenantBody{showTenant(s.Tenant)}}, nil
}

func showTenant(t ajar.Tenant) tenantBody {
	b := tenantBody{ID: "/tenants/" + t.ID, TenantID: t.ID, DisplayName: t.Name, DefaultDomain: t.Domain, Domains: []string{}, Category: "Home", Type: "AAD"}
	if t.Domain != "" {
		b.Domains = append(b.Domains, t.Domain)
	}
	return b
}
