variable "project" {
  description = "The project's id"
  type        = string
}

variable "name" {
  description = "What the load balancer's parts are called, or begin with"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}$", var.name))
    error_message = "name is of small letters, digits and hyphens, at most 31 of them, and begins with a letter."
  }
}

variable "domain" {
  description = "The API's host name; candidate.DOMAIN is used besides"
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.domain))
    error_message = "domain is a host name such as licenses.example.com, in small letters."
  }
}

variable "functions" {
  description = "Each function's paths, and the endpoint groups of what serves and of what is about to"
  type        = map(object({ paths = list(string), live = string, candidate = string }))

  validation {
    condition     = alltrue(flatten([for function in var.functions : [for path in function.paths : can(regex("^/[^*?#]*(/\\*)?$", path))]]))
    error_message = "A path begins with /, and has * at its end only."
  }

  validation {
    condition     = length(flatten([for function in var.functions : function.paths])) == length(distinct(flatten([for function in var.functions : function.paths])))
    error_message = "A path belongs to one function."
  }
}

variable "candidate_key" {
  description = "What the header x-candidate-key must be on candidate.DOMAIN"
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^[0-9A-Za-z]{32,128}$", var.candidate_key))
    error_message = "candidate_key is of 32 to 128 letters and digits."
  }
}

variable "strangers" {
  description = "The function that answers what no function has"
  type        = string
  default     = "discovery"

  validation {
    condition     = can(regex("^[a-z][a-z-]{0,30}$", var.strangers))
    error_message = "strangers is the name of one of the functions."
  }
}

variable "requests_per_minute" {
  description = "Requests a minute from one address beyond which it is turned away"
  type        = number
  default     = 6000

  validation {
    condition     = var.requests_per_minute >= 60 && var.requests_per_minute <= 1000000
    error_message = "requests_per_minute is from 60 to 1000000."
  }
}

variable "log_sample_rate" {
  description = "The part of all requests that is logged"
  type        = number

  validation {
    condition     = var.log_sample_rate >= 0 && var.log_sample_rate <= 1
    error_message = "log_sample_rate is from 0 to 1."
  }
}
