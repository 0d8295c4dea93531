variable "project" {
  description = "The project's id"
  type        = string
}

variable "region" {
  description = "Where messages are kept"
  type        = string
}

variable "name" {
  description = "What the topic and its subscription are called"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}$", var.name))
    error_message = "name is of small letters, digits and hyphens, at most 31 of them, and begins with a letter."
  }
}

variable "worker" {
  description = "Service account of the worker"
  type        = string
}

variable "attempts" {
  description = "Deliveries after which a message is a dead letter"
  type        = number
  default     = 20

  validation {
    condition     = var.attempts >= 5 && var.attempts <= 100
    error_message = "attempts is from 5 to 100."
  }
}
