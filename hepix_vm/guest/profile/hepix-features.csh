# SPDX-License-Identifier: Apache-2.0
#
# Where hepix-context keeps machine and job features.
if ( -d /etc/machinefeatures ) setenv MACHINEFEATURES /etc/machinefeatures
if ( -d /etc/jobfeatures ) setenv JOBFEATURES /etc/jobfeatures
