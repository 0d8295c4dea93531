variable "project" {
  description = "The project's id"
  type        = string
}

variable "region" {
  description = "Where everything is"
  type        = string
  default     = "europe-west1"
}

variable "domain" {
  description = "The API's host name, such as licenses.example.com"
  type        = string
}

variable "emails" {
  description = "Who is told when something is wrong"
  type        = set(string)
}

variable "repository" {
  description = "The repository on GitHub, as OWNER/NAME"
  type        = string
}

variable "billing_account" {
  description = "The billing account, for the budget; null for none"
  type        = string
  default     = null
}

variable "otlp_endpoint" {
  description = "Where traces are sent by OTLP over HTTP; null for nowhere"
  type        = string
  default     = null
}

variable "people" {
  description = "Google accounts that may log in to PostgreSQL as themselves"
  type        = set(string)
  default     = []
}

variable "staff_issuers" {
  description = "Issuers that may vouch for the vendor's staff: google for the project's own sign-ins, or names of other issuers"
  type        = list(string)
}

variable "cors_origins" {
  description = "Origins whose scripts may call"
  type        = list(string)
  default     = []
}

variable "oauth_clients" {
  description = "OAuth clients by provider, google.com and github.com; made by hand, as infra/README.md tells"
  type        = map(object({ id = string, secret = string }))
  sensitive   = true
  default     = {}
}

variable "sentry_dsn" {
  description = "Where Sentry is told of errors and panics, as https://KEY@HOST/PROJECT; null for nobody; made by hand, as infra/README.md tells"
  type        = string
  sensitive   = true
  default     = null
}

variable "psql_image" {
  description = "The image that has psql, by digest; looked up as infra/README.md tells"
  type        = string
}

variable "collector_image" {
  description = "Google's collector of metrics, by digest; looked up as infra/README.md tells"
  type        = string
}

variable "protected" {
  description = "Whether database and services refuse to be deleted"
  type        = bool
}

variable "sizes" {
  description = "How big everything is; see infra/modules/platform"
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
}
