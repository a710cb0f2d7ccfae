# What a pulled base image would be: Debian with Python. ADD unpacks the archive.
FROM scratch
ADD rootfs.tar /
ENV PYTHONUNBUFFERED=1
CMD ["python3"]
