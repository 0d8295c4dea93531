variable "project" {
  description = "The project's id"
  type        = string
}

variable "region" {
  description = "Where the schedules run"
  type        = string
}

variable "topic" {
  description = "The topic of the jobs"
  type        = string
}

variable "jobs" {
  description = "The jobs, by name: when each is published, and what (in JSON)"
  type = map(object({
    summary = string
    cron    = string
    message = string
  }))

  validation {
    condition     = alltrue([for job in var.jobs : length(split(" ", job.cron)) == 5])
    error_message = "Each cron has five fields."
  }

  validation {
    condition     = alltrue([for name, job in var.jobs : try(jsondecode(job.message).job == name, false)])
    error_message = "Each message names its job."
  }
}
