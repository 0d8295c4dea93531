variable "project" {
  description = "The project's id"
  type        = string
}

variable "region" {
  description = "Where it runs"
  type        = string
}

variable "instances" {
  description = "Instances, which always run: any number may, and two survive a zone"
  type        = number

  validation {
    condition     = var.instances >= 1
    error_message = "There is at least one worker: zombies are ended by nobody else."
  }
}

variable "launch_stage" {
  description = "GA, or BETA where worker pools are not yet general"
  type        = string
  default     = "GA"

  validation {
    condition     = contains(["GA", "BETA"], var.launch_stage)
    error_message = "launch_stage is GA or BETA."
  }
}

variable "migrator" {
  description = "What the jobs `migrate` and `logins` use: an account, the database's owner, and the script that makes the logins"
  type = object({
    service_account = string
    database_url    = object({ secret = string, version = string })
    password        = object({ secret = string, version = string })
    certificates    = object({ secret = string, version = string })
    logins          = object({ secret = string, version = string })
    psql            = map(string)
  })
}

variable "psql_image" {
  description = "An image that has psql, by digest"
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9.-]+/[a-z0-9._/-]+@sha256:[0-9a-f]{64}$", var.psql_image))
    error_message = "psql_image is an image with its registry and its digest."
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
