variable "project" {
  description = "The project's id"
  type        = string
}

variable "region" {
  description = "The region of the subnet"
  type        = string
}

variable "name" {
  description = "What the network is called, and its parts begin with"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}$", var.name))
    error_message = "name is of small letters, digits and hyphens, at most 31 of them, and begins with a letter."
  }
}

variable "functions_range" {
  description = "Addresses of the functions' instances: four for each, so a /22 carries 250 instances"
  type        = string

  validation {
    condition     = can(cidrhost(var.functions_range, 0)) && try(tonumber(split("/", var.functions_range)[1]) <= 26, false)
    error_message = "functions_range is a range of IPv4 addresses with a prefix of at most 26: Cloud Run takes no smaller one."
  }
}

variable "services_range" {
  description = "Addresses of Cloud SQL and Memorystore"
  type        = string

  validation {
    condition     = can(cidrhost(var.services_range, 0)) && try(tonumber(split("/", var.services_range)[1]) <= 24, false)
    error_message = "services_range is a range of IPv4 addresses with a prefix of at most 24: each service takes a /29 to a /24 of it."
  }
}
