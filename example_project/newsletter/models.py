"""Who gets the newsletter, and who got which one."""

from __future__ import annotations

from django.db import models


class SubscriberQuerySet(models.QuerySet["Subscriber"]):
    def active(self) -> SubscriberQuerySet:
        return self.filter(active=True)

    def not_reached_by(self, job_id: int) -> SubscriberQuerySet:
        """Those to whom this job has not sent a mail yet."""
        return self.exclude(deliveries__job_id=job_id)


class Subscriber(models.Model):
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=100)
    active = models.BooleanField(default=True)

    objects = SubscriberQuerySet.as_manager()

    class Meta:
        ordering = ("email",)
        permissions = (("send_newsletter", "Can send the newsletter"),)

    def __str__(self) -> str:
        return self.email


class Delivery(models.Model):
    """One mail that was sent. A retry of the same job reads here where the last attempt stopped."""

    job_id = models.BigIntegerField()
    subscriber = models.ForeignKey(Subscriber, models.CASCADE, related_name="deliveries")
    sent_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("job_id", "subscriber"), name="newsletter_one_mail_per_job"),)

    def __str__(self) -> str:
        return f"#{self.job_id} to {self.subscriber}"
