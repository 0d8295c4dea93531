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

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}$", var.name))
    error_message = "name is of small letters, digits and hyphens, at most 31 of them, and begins with a letter."
  }
}

variable "environment" {
  description = "The forge's environment that may deploy here"
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]+$", var.environment))
    error_message = "environment is the name of an environment of the forge."
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

variable "functions" {
  description = "What is deployed: each function's service, and the full name of the account that it runs as"
  type        = map(object({ service = string, account = string }))

  validation {
    condition     = length(var.functions) > 0
    error_message = "Whoever deploys deploys something."
  }
}

variable "worker" {
  description = "The worker's pool, and the full name of the account that it runs as"
  type        = object({ pool = string, account = string })
}

variable "migrator" {
  description = "The job that migrates, and the full name of the account that it runs as"
  type        = object({ job = string, account = string })
}
