variable "project" {
  description = "The project's id"
  type        = string
}

variable "region" {
  description = "Where the instance is"
  type        = string
}

variable "name" {
  description = "What the instance is called"
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

variable "memory_gb" {
  description = "Memory; a session takes about a kilobyte"
  type        = number

  validation {
    condition     = var.memory_gb >= 1 && var.memory_gb <= 300 && floor(var.memory_gb) == var.memory_gb
    error_message = "memory_gb is a whole number from 1 to 300."
  }
}

variable "highly_available" {
  description = "Whether a replica in another zone takes over when the first fails"
  type        = bool
}
