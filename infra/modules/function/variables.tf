variable "project" {
  description = "The project's id"
  type        = string
}

variable "region" {
  description = "Where it runs"
  type        = string
}

variable "name" {
  description = "The function, as infra/functions.yaml names it"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z-]{0,30}$", var.name))
    error_message = "name is of small letters and hyphens."
  }
}

variable "prefix" {
  description = "What names outside of Cloud Run begin with"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}$", var.prefix))
    error_message = "prefix is of small letters, digits and hyphens, at most 31 of them, and begins with a letter."
  }
}

variable "concurrency" {
  description = "Requests that one instance serves at the same time"
  type        = number

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 1000
    error_message = "concurrency is from 1 to 1000."
  }
}

variable "instances" {
  description = "Instances at least and at most"
  type        = object({ min = number, max = number })

  validation {
    condition     = var.instances.min >= 0 && var.instances.max >= 1 && var.instances.min <= var.instances.max
    error_message = "instances.min is at least 0, and instances.max at least 1 and at least min."
  }
}

variable "service_account" {
  description = "Who it is: an account of its own, with the least it needs"
  type        = string
}

variable "image" {
  description = "The image to begin with; scripts/deploy changes it"
  type        = string
}

variable "cpu" {
  description = "Processors of one instance"
  type        = string

  validation {
    condition     = contains(["1", "2", "4", "8"], var.cpu)
    error_message = "cpu is 1, 2, 4 or 8: less serves one request at a time."
  }
}

variable "memory" {
  description = "Memory of one instance"
  type        = string

  validation {
    condition     = can(regex("^[0-9]+(Mi|Gi)$", var.memory))
    error_message = "memory is a number of Mi or Gi."
  }
}

variable "network" {
  description = "The network that it reaches PostgreSQL and Redis by"
  type        = string
}

variable "subnetwork" {
  description = "The subnet that its instances have addresses of"
  type        = string
}

variable "settings" {
  description = "Environment variables; PORT is Cloud Run's own"
  type        = map(string)

  validation {
    condition     = !contains(keys(var.settings), "PORT")
    error_message = "PORT is set by Cloud Run."
  }
}

variable "secrets" {
  description = "Environment variables whose value is in Secret Manager"
  type        = map(object({ secret = string, version = string }))
}

variable "files" {
  description = "Secrets that are files"
  type        = map(object({ secret = string, version = string, file = string, folder = string }))
}

variable "collector" {
  description = "What gathers metrics: its image, and the secret with its configuration; null for none"
  type        = object({ image = string, secret = string, version = string })
  default     = null
}

variable "deletion_protection" {
  description = "Whether it cannot be deleted before this is false"
  type        = bool
}
