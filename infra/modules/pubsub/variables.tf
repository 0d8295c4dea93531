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
