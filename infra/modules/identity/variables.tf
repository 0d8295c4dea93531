variable "project" {
  description = "The project's id"
  type        = string
}

variable "authorized_domains" {
  description = "Domains whose pages may sign people in"
  type        = list(string)

  validation {
    condition     = alltrue([for domain in var.authorized_domains : can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", domain))])
    error_message = "A domain is a host name in small letters."
  }
}

variable "oauth_clients" {
  description = "OAuth clients by provider, google.com and github.com"
  type        = map(object({ id = string, secret = string }))
  sensitive   = true
  default     = {}

  validation {
    condition     = alltrue([for provider, _ in var.oauth_clients : contains(["google.com", "github.com"], provider)])
    error_message = "A provider is google.com or github.com."
  }
}
