variable "project" {
  description = "The project's id: one project is one environment"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project is a project's id, not its name or number."
  }
}

variable "region" {
  description = "Where everything is"
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is a region such as europe-west1."
  }
}

variable "environment" {
  description = "Which of the sizes in functions.yaml are meant"
  type        = string

  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "environment is dev, staging or prod."
  }
}

variable "domain" {
  description = "The API's host name"
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.domain))
    error_message = "domain is a host name such as licenses.example.com, in small letters."
  }
}

variable "emails" {
  description = "Who is told when something is wrong"
  type        = set(string)

  validation {
    condition     = length(var.emails) > 0 && alltrue([for email in var.emails : can(regex("^[^@ ]+@[^@ ]+$", email))])
    error_message = "emails has at least one address."
  }
}

variable "people" {
  description = "Google accounts that may log in to PostgreSQL as themselves"
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for person in var.people : can(regex("^[^@ ]+@[^@ ]+$", person))])
    error_message = "people has the addresses of Google accounts."
  }
}

variable "repository" {
  description = "The repository on GitHub, as OWNER/NAME"
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", var.repository))
    error_message = "repository is OWNER/NAME."
  }
}

variable "billing_account" {
  description = "The billing account, for the budget; null for none"
  type        = string
  default     = null

  validation {
    condition     = var.billing_account == null ? true : can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "billing_account is three times six hexadecimal digits, as gcloud billing accounts list shows it."
  }
}

variable "cors_origins" {
  description = "Origins whose scripts may call"
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for origin in var.cors_origins : can(regex("^https://[^/]+$", origin))])
    error_message = "An origin is https://HOST, with no path."
  }
}

variable "oauth_clients" {
  description = "OAuth clients by provider, google.com and github.com"
  type        = map(object({ id = string, secret = string }))
  sensitive   = true
  default     = {}
}

variable "sentry_dsn" {
  description = "Where Sentry is told of errors and panics, as https://KEY@HOST/PROJECT; null for nobody"
  type        = string
  sensitive   = true
  default     = null

  validation {
    condition     = var.sentry_dsn == null || can(regex("^https://[0-9A-Za-z:]+@[^/@]+(/.+)?/[0-9]+/?$", var.sentry_dsn))
    error_message = "sentry_dsn is https://KEY@HOST/PROJECT, as Sentry shows it, or null."
  }
}

variable "oidc_issuers" {
  description = "Further issuers whose tokens are taken, as OIDC_ISSUERS has them; tenants and domains limit what one may vouch for"
  type = list(object({
    issuer                = string
    audience              = string
    jwks_url              = string
    algorithm             = optional(string)
    tenants               = optional(list(string))
    domains               = optional(list(string))
    assume_email_verified = optional(bool)
  }))
  default = []

  validation {
    condition     = alltrue([for issuer in var.oidc_issuers : can(regex("^https://", issuer.issuer))])
    error_message = "Each of oidc_issuers names its issuer, https://…."
  }
}

variable "staff_issuers" {
  description = "Issuers that may vouch for the vendor's staff: google for the project's own sign-ins, or names in oidc_issuers"
  type        = list(string)

  validation {
    condition     = alltrue([for name in var.staff_issuers : name == "google" || contains([for issuer in var.oidc_issuers : issuer.issuer], name)])
    error_message = "Each of staff_issuers is google, or the issuer of one of oidc_issuers."
  }
}

variable "otlp_endpoint" {
  description = "Where traces are sent by OTLP over HTTP; null for nowhere"
  type        = string
  default     = null

  validation {
    condition     = var.otlp_endpoint == null ? true : can(regex("^https://[^/:]+(:443)?(/|$)", var.otlp_endpoint))
    error_message = "otlp_endpoint is https://HOST…: the network lets nothing else out."
  }
}

variable "psql_image" {
  description = "The image that has psql, by digest: infra/README.md tells how to look it up"
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9.-]+/[a-z0-9._/-]+@sha256:[0-9a-f]{64}$", var.psql_image))
    error_message = "psql_image is REGISTRY/IMAGE@sha256:DIGEST: a tag may be another image tomorrow."
  }
}

variable "collector_image" {
  description = "Google's collector of metrics, by digest: infra/README.md tells how to look it up"
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9.-]+/[a-z0-9._/-]+@sha256:[0-9a-f]{64}$", var.collector_image))
    error_message = "collector_image is REGISTRY/IMAGE@sha256:DIGEST: it runs beside each function and has what that has."
  }
}

variable "limits" {
  description = "Requests an hour for whoever shows no credential, by address, and for each that does; 0 for no limit"
  type        = object({ anonymous_per_hour = number, principal_per_hour = number, public_per_hour = optional(number, 36000) })
  default     = { anonymous_per_hour = 100, principal_per_hour = 1000, public_per_hour = 36000 }

  validation {
    condition     = min(values(var.limits)...) >= 0
    error_message = "A limit is 0 or more."
  }
}

variable "protected" {
  description = "Whether database and services refuse to be deleted"
  type        = bool
}

variable "sizes" {
  description = "All that environments differ in, besides functions.yaml"
  type = object({
    highly_available = bool
    root_in_hardware = bool
    metrics          = bool
    log_sample_rate  = number
    budget           = number
    database = object({
      tier             = string
      disk_gb          = number
      max_connections  = number
      retained_backups = number
    })
    redis = object({
      memory_gb = number
    })
  })

  validation {
    condition     = var.sizes.budget > 0 && floor(var.sizes.budget) == var.sizes.budget
    error_message = "sizes.budget is a whole number above 0."
  }
}
