variable "project" {
  description = "The project's id"
  type        = string
}

variable "region" {
  description = "Where the instance is"
  type        = string
}

variable "name" {
  description = "What the instance is called; a name that was used is not free again for a week"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}$", var.name))
    error_message = "name is of small letters, digits and hyphens, at most 31 of them, and begins with a letter."
  }
}

variable "network" {
  description = "The network, with private services access"
  type        = string
}

variable "tier" {
  description = "Size of the machine, as db-custom-CPUS-MEGABYTES"
  type        = string

  validation {
    condition     = can(regex("^db-(custom-[0-9]+-[0-9]+|f1-micro|g1-small)$", var.tier))
    error_message = "tier is db-custom-CPUS-MEGABYTES, db-f1-micro or db-g1-small."
  }
}

variable "highly_available" {
  description = "Whether a second machine in another zone takes over when the first fails"
  type        = bool
}

variable "disk_gb" {
  description = "Gigabytes to begin with; the disk grows by itself"
  type        = number

  validation {
    condition     = var.disk_gb >= 10
    error_message = "disk_gb is at least 10."
  }
}

variable "max_connections" {
  description = "Connections that PostgreSQL accepts"
  type        = number

  validation {
    condition     = var.max_connections >= 25 && var.max_connections <= 4000
    error_message = "max_connections is from 25 to 4000."
  }
}

variable "retained_backups" {
  description = "Daily backups that are kept"
  type        = number

  validation {
    condition     = var.retained_backups >= 7 && var.retained_backups <= 365
    error_message = "retained_backups is from 7 (as many days as the log for point-in-time recovery is kept) to 365."
  }
}

variable "deletion_protection" {
  description = "Whether the instance cannot be deleted before this is false"
  type        = bool
}

variable "logins" {
  description = "Logins of functions and worker: their roles, and how many connections each may have"
  type = map(object({
    roles       = list(string)
    connections = number
  }))

  validation {
    condition     = alltrue([for login, _ in var.logins : can(regex("^[a-z][a-z_]*$", login))])
    error_message = "A login is of small letters and underscores."
  }

  validation {
    condition     = alltrue(flatten([for rights in var.logins : [for role in rights.roles : can(regex("^coditect_[a-z]+$", role))]]))
    error_message = "A role is one of the platform's own, coditect_…."
  }
}

variable "people" {
  description = "Google accounts that may log in as themselves"
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for person in var.people : can(regex("^[^@ ]+@[^@ ]+$", person))])
    error_message = "people has the addresses of Google accounts."
  }
}
