variable "project" {
  description = "The project's id"
  type        = string
}

variable "region" {
  description = "Where images are kept"
  type        = string
}

variable "name" {
  description = "What the registry is called"
  type        = string
}

variable "environment" {
  description = "The forge's environment that may deploy here"
  type        = string
}

variable "repository" {
  description = "The repository on GitHub, as OWNER/NAME"
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", var.repository))
    error_message = "repository is OWNER/NAME."
  }
}

variable "accounts" {
  description = "The service accounts that what is deployed runs as, by their full names"
  type        = map(string)
}
